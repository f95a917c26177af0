//! The pid file: which process owns it, and its removal at the end of this process.
//!
//! The one rule: a running process holds a lock on its pid file. A process never writes to a file
//! that another process has locked, and never removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{Access, FlockOperation, OFlags, access, flock};
use rustix::io::Errno;

use crate::patience::{FOR_THE_SIGNALLED, Patience};

/// Checks whether the pid file can be written, without opening it.
///
/// # Errors
/// When the file, or its directory, cannot be written, or it is not a regular file.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let outcome = match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(not_a_regular_file()),
        Ok(_) => access(path, Access::WRITE_OK).map_err(io::Error::from),
        Err(_) => {
            access(directory(path), Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
        }
    };
    outcome.map_err(|error| cannot_write(path, &error))
}

/// Checks whether no running process has the pid file.
///
/// # Errors
/// When a running process still has it after `patience`.
pub(crate) fn check_is_free(path: &Path, patience: &Patience) -> io::Result<()> {
    let check = || match open(path, false) {
        Ok(file) => lock(&file, path),
        // There is none yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    patience.open(FOR_THE_SIGNALLED, || check().map_err(|error| cannot_write(path, &error)))
}

/// The directory of a file.
pub(crate) fn directory(path: &Path) -> &Path {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    directory.unwrap_or_else(|| Path::new("."))
}

fn cannot_write(path: &Path, error: &io::Error) -> io::Error {
    let text = format!("failed to write pid file '{}': {error}", path.display());
    io::Error::new(error.kind(), text)
}

fn not_a_regular_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// The pid file of this process, removed when this value is dropped, if it is still ours.
#[derive(Debug)]
pub(crate) struct PidFile {
    /// The path of the file with all symbolic links resolved: the links are not removed.
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes the id of this process to `path`, and overwrites the file of an earlier process.
    pub(crate) fn write(path: &Path, patience: &Patience) -> io::Result<Self> {
        let write = || Self::write_once(path).map_err(|error| cannot_write(path, &error));
        patience.open(FOR_THE_SIGNALLED, write)
    }

    fn write_once(path: &Path) -> io::Result<Self> {
        let file = open(path, true)?;
        if !file.metadata()?.is_file() {
            return Err(not_a_regular_file());
        }
        lock(&file, path)?;
        // The process that owned the file may have removed it after this process opened it.
        let removed = || io::Error::from(io::ErrorKind::ResourceBusy);
        let mut written = Self { path: fs::canonicalize(path).map_err(|_| removed())?, file };
        if !written.is_in_place() {
            return Err(removed());
        }
        written.file.set_len(0)?;
        written.file.write_all(pid_line().as_bytes())?;
        Ok(written)
    }

    /// Lets another process have the file, because this process is about to end.
    pub(crate) fn give_up(&self) {
        // If this fails, the end of the process unlocks the file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }

    fn is_in_place(&self) -> bool {
        let (Ok(found), Ok(made)) = (fs::symlink_metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (found.dev(), found.ino()) == (made.dev(), made.ino())
    }

    fn is_still_ours(&self) -> bool {
        lock(&self.file, &self.path).is_ok()
            && self.is_in_place()
            && fs::read_to_string(&self.path).is_ok_and(|text| text == pid_line())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_still_ours() {
            // If another process has just removed it, this fails, which is fine.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the file. As with twemproxy, all users may read it, but only its owner may write to it.
fn open(path: &Path, create: bool) -> io::Result<File> {
    // Without this flag, the start would wait for the reader of a pipe.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut how = OpenOptions::new();
    how.write(true).create(create).truncate(false).mode(0o644).custom_flags(flags);
    how.open(path)
}

/// Locks the file until it is closed.
fn lock(file: &File, path: &Path) -> io::Result<()> {
    if flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK) {
        // A file system may have no locks.
        return Ok(());
    }
    let id = fs::read_to_string(path).unwrap_or_default();
    let holder = match id.trim().parse::<u32>() {
        Ok(id) => format!("the running process {id}"),
        Err(_) => "another process".into(),
    };
    Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("it belongs to {holder}")))
}

fn pid_line() -> String {
    format!("{}\n", process::id())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn place(name: &str) -> PathBuf {
        env::temp_dir().join(format!("nuthatch-pid-{}-{name}", process::id()))
    }

    fn write(path: &Path) -> io::Result<PidFile> {
        PidFile::write(path, &Patience::default())
    }

    #[test]
    fn a_pid_file_goes_with_its_process() {
        let path = place("own");
        fs::write(&path, "an earlier process").unwrap();
        let file = write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), pid_line());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_with_the_id_of_another_process_stays() {
        let path = place("other");
        let file = write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_pid_file_that_is_held_is_neither_written_nor_removed_until_it_is_given_up() {
        let path = place("held");
        let first = write(&path).unwrap();
        fs::write(&path, "77\n").unwrap();
        for told in [check_is_free(&path, &Patience::default()).err(), write(&path).err()] {
            let told = told.expect("it is held").to_string();
            assert!(told.ends_with("it belongs to the running process 77"), "{told}");
        }
        // `-t` may look while the process runs.
        check(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "77\n");
        first.give_up();
        check_is_free(&path, &Patience::default()).unwrap();
        let second = write(&path).unwrap();
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), pid_line());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_behind_a_symbolic_link_goes_and_the_link_stays() {
        let (path, link) = (place("target"), place("link"));
        symlink(&path, &link).unwrap();
        let file = write(&link).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), pid_line());
        drop(file);
        assert!(!path.exists() && link.is_symlink());
        fs::remove_file(&link).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let pipe = place("pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        for path in [&pipe, Path::new("/dev/null"), &env::temp_dir()] {
            let told = check(path).unwrap_err().to_string();
            assert!(told.ends_with("': it is not a regular file"), "{told}");
            assert!(write(path).is_err(), "{}", path.display());
        }
        assert!(pipe.exists());
        fs::remove_file(&pipe).unwrap();
    }
}
