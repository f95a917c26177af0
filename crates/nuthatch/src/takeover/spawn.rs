//! Starts the next process from the running one (`SIGUSR2`), so that it belongs to the same service of
//! systemd.
//!
//! The one rule: the next process gets the command line of this one, and the program that is now at its
//! path. Whatever becomes of it, this process continues until it says `go`.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::thread;

/// The command of the next process.
fn command(arguments: impl IntoIterator<Item = OsString>) -> Command {
    let mut arguments = arguments.into_iter();
    let mut command = Command::new(arguments.next().unwrap_or_else(|| "nuthatch".into()));
    // This process may have taken over from another, too.
    command.arg("upgrade").args(arguments.skip_while(|word| word == "upgrade"));
    command
}

/// Starts the next process, and waits for it on a separate thread: if it fails, it has said why on the
/// same standard error or in the same log.
pub(crate) fn start_next() {
    let mut command = command(env::args_os());
    let started = command.stdin(Stdio::null()).spawn();
    let outcome = started.and_then(|mut next| {
        log::info!(pid = next.id(); "started the next process");
        let wait = move || match next.wait() {
            Ok(status) if !status.success() => {
                log::warn!(status:%; "the next process has failed; this process continues");
            }
            _ => {}
        };
        thread::Builder::new().name("upgrade".into()).spawn(wait)
    });
    if let Err(error) = outcome {
        log::error!(error:%; "failed to start the next process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_gets_the_same_command_line() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in ["/usr/bin/nuthatch -c a.yml", "/usr/bin/nuthatch upgrade -c a.yml"] {
            let command = command(words(line));
            assert_eq!(command.get_program(), "/usr/bin/nuthatch");
            assert_eq!(command.get_args().collect::<Vec<_>>(), words("upgrade -c a.yml"));
        }
    }
}
