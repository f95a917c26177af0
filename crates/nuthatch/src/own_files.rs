//! The files that the process creates in shared directories: unix sockets and the pid file.
//!
//! The one rule: the process removes only the files that it has created. A file that another
//! process has created under the same name in the meantime stays.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, CWD, Mode, OFlags, access, fstat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with,
};

/// The files of this process, removed at its end, or with the last of its clones.
#[derive(Debug, Clone, Default)]
pub struct OwnFiles(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    files: Vec<OwnFile>,
    /// Whether the process is ending: a file that is created now is removed at once.
    are_removed: bool,
}

/// Checks whether the pid file can be written, so that a wrong path is reported before the start.
///
/// # Errors
/// When the file, or its directory, cannot be written.
pub fn check_pid_file(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match access(path, Access::WRITE_OK) {
        Err(Errno::NOENT) => {
            access(folder.unwrap_or_else(|| Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)
        }
        other => other,
    }
    .map_err(|error| cannot_write(path, &error.into()))
}

/// What is at the place of a unix socket and is none. A link to a socket is as good as one.
pub(crate) fn obstacle(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?.file_type();
    let target = fs::metadata(path).map(|target| target.file_type());
    let what = match found {
        _ if found.is_socket() || target.is_ok_and(|target| target.is_socket()) => return None,
        _ if found.is_dir() => "a directory",
        _ if found.is_symlink() => "a symbolic link that leads to no socket",
        _ => "a file that is not a socket",
    };
    Some(format!("{what} is in the way"))
}

fn cannot_write(path: &Path, error: &io::Error) -> io::Error {
    let text = format!("failed to write pid file '{}': {error}", path.display());
    io::Error::new(error.kind(), text)
}

/// A file that is removed when this value is dropped, if it is still the created file.
#[derive(Debug)]
enum OwnFile {
    /// A unix socket. `inode` is open (`O_PATH`), so that the inode number cannot be reused for
    /// another file before the comparison.
    Socket { path: PathBuf, inode: OwnedFd },
    /// A file with the process id in it.
    Pid { path: PathBuf },
}

impl OwnFiles {
    /// Binds `socket` to the unix socket `path`. A socket on which no process listens is replaced;
    /// other files are not removed.
    pub(crate) fn bind_socket(&self, socket: impl AsFd, path: &Path) -> io::Result<()> {
        if let Some(obstacle) = obstacle(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, obstacle));
        }
        self.remove_abandoned(path)?;
        bind(socket, &SocketAddrUnix::new(path)?)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inode = openat(CWD, path, flags, Mode::empty())?;
        self.keep(OwnFile::Socket { path: path.to_owned(), inode });
        Ok(())
    }

    /// Writes the id of this process to `path`, and overwrites an existing file.
    pub(crate) fn write_pid(&self, path: &Path) -> io::Result<()> {
        fs::write(path, pid_line()).map_err(|error| cannot_write(path, &error))?;
        self.keep(OwnFile::Pid { path: path.to_owned() });
        Ok(())
    }

    /// Removes the unix socket that an earlier run left behind.
    fn remove_abandoned(&self, path: &Path) -> io::Result<()> {
        let in_use = |who| Err(io::Error::new(io::ErrorKind::AddrInUse, who));
        match connection(path) {
            Err(Errno::NOENT) => Ok(()),
            // Only this says that nobody listens.
            Err(Errno::CONNREFUSED) => {
                if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                    fs::remove_file(path)?;
                }
                Ok(())
            }
            // A full backlog (EAGAIN) and a socket of another type (EPROTOTYPE) have a holder.
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) if self.has(path) => {
                in_use("this process listens on this socket already")
            }
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
                in_use("another process listens on this socket")
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the socket that is found at `path` is one of ours, by whatever path.
    fn has(&self, path: &Path) -> bool {
        let Ok(found) = fs::metadata(path) else { return false };
        self.lock().files.iter().any(|file| match file {
            OwnFile::Socket { inode, .. } => fstat(inode)
                .is_ok_and(|made| (found.dev(), found.ino()) == (made.st_dev, made.st_ino)),
            OwnFile::Pid { .. } => false,
        })
    }

    /// Removes the files, and from now on every new file at once.
    pub(crate) fn remove(&self) {
        let mut files = self.lock();
        files.are_removed = true;
        files.files.clear();
    }

    fn keep(&self, file: OwnFile) {
        let mut files = self.lock();
        if !files.are_removed {
            files.files.push(file);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnFile {
    fn is_still_ours(&self) -> bool {
        match self {
            Self::Socket { path, inode } => {
                let (Ok(found), Ok(made)) = (fs::symlink_metadata(path), fstat(inode)) else {
                    return false;
                };
                (found.dev(), found.ino()) == (made.st_dev, made.st_ino)
            }
            // A device or a pipe is not read, and not removed.
            Self::Pid { path } => {
                fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
                    && fs::read_to_string(path).is_ok_and(|text| text == pid_line())
            }
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let (Self::Socket { path, .. } | Self::Pid { path }) = self;
        let path = path.clone();
        if self.is_still_ours() {
            // Somebody else may have removed it just now, which is what is wanted.
            let _ = fs::remove_file(path);
        }
    }
}

fn pid_line() -> String {
    format!("{}\n", process::id())
}

/// Tries to connect, without waiting for a listener that is busy.
fn connection(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(socket, &SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn place(name: &str) -> PathBuf {
        env::temp_dir().join(format!("nuthatch-own-{}-{name}", process::id()))
    }

    fn socket() -> OwnedFd {
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_pid_file_goes_with_its_process() {
        let (path, files) = (place("pid"), OwnFiles::default());
        fs::write(&path, "an earlier process").unwrap();
        files.write_pid(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), pid_line());
        drop(files);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_with_the_id_of_another_process_stays() {
        let (path, files) = (place("other-pid"), OwnFiles::default());
        files.write_pid(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        files.remove();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_unix_socket_goes_with_its_process_and_another_under_its_name_stays() {
        let (path, files) = (place("sock"), OwnFiles::default());
        let own = socket();
        files.bind_socket(&own, &path).unwrap();
        drop(own);
        // Nobody listens on it: it is replaced.
        files.bind_socket(socket(), &path).unwrap();
        files.remove();
        assert!(!path.exists());

        let files = OwnFiles::default();
        files.bind_socket(socket(), &path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(files);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_of_this_process_is_not_taken_for_another_process() {
        let (path, files) = (place("twice"), OwnFiles::default());
        let first = socket();
        files.bind_socket(&first, &path).unwrap();
        rustix::net::listen(&first, 1).unwrap();
        let error = files.bind_socket(socket(), &path).unwrap_err();
        assert_eq!(error.to_string(), "this process listens on this socket already");
        let error = OwnFiles::default().bind_socket(socket(), &path).unwrap_err();
        assert_eq!(error.to_string(), "another process listens on this socket");
    }

    #[test]
    fn what_is_no_socket_is_told_and_stays() {
        let (path, files) = (place("obstacle"), OwnFiles::default());
        fs::write(&path, "").unwrap();
        let error = files.bind_socket(socket(), &path).unwrap_err();
        assert_eq!(error.to_string(), "a file that is not a socket is in the way");
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_made_during_the_end_is_removed_at_once() {
        let (path, files) = (place("late"), OwnFiles::default());
        files.remove();
        files.write_pid(&path).unwrap();
        assert!(!path.exists());
    }
}
