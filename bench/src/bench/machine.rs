//! What the results depend on and can't say themselves: the machine, the date, the versions.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The last CPU this program may run on; the first ones get most interrupts.
pub(crate) fn last_allowed_cpu() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    allowed.and_then(last_of_list).unwrap_or(0)
}

/// The last number of a list such as `0-3,8`.
fn last_of_list(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

pub(crate) fn host_name() -> String {
    proc_line("/proc/sys/kernel/hostname")
}

pub(crate) fn kernel() -> String {
    format!("Linux {}", proc_line("/proc/sys/kernel/osrelease"))
}

/// The model of the CPUs and how many there are.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let is_model = |line: &&str| line.starts_with("model name") || line.starts_with("CPU part");
    let model = info.lines().find(is_model).and_then(|line| line.split(": ").nth(1));
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} x {}", model.unwrap_or("unknown CPU"))
}

/// Today in UTC, as `2031-12-24`.
pub(crate) fn date() -> String {
    first_line(Command::new("date").args(["-u", "+%F"])).unwrap_or_else(|| "undated".to_owned())
}

/// What a program says to `flag`, in its first line.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    first_line(Command::new(program).arg(flag)).unwrap_or_else(|| "unknown version".to_owned())
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}

fn proc_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpu_of_a_list() {
        assert_eq!(last_of_list("\t0-3,8\n"), Some(8));
        assert_eq!(last_of_list("0-3"), Some(3));
        assert_eq!(last_of_list("5"), Some(5));
        assert_eq!(last_of_list(""), None);
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version(Path::new("/nonexistent"), "-V"), "unknown version");
    }
}
