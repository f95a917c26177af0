//! The files that the process makes in places that others use too: unix sockets and the pid file.
//!
//! The one rule: the process removes what it made, and nothing else. A file that another process
//! has put under the same name in the meantime stays.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, chmod, flock, fstat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::patience::Patience;
use crate::pid_file::{self, PidFile};

/// The files of this process, removed at its end, or with the last of its clones.
#[derive(Debug, Clone, Default)]
pub struct OwnFiles(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    sockets: Vec<OwnSocket>,
    pid_file: Option<PidFile>,
    /// Whether the process ends: a file that is made now is removed at once.
    are_removed: bool,
}

/// A unix socket. It is removed when this is dropped, if it is still the one that was made. `inode` is open without access to the socket itself, so that the number of the
/// inode can't be given to another file while it is compared.
#[derive(Debug)]
struct OwnSocket {
    path: PathBuf,
    inode: OwnedFd,
}

impl OwnFiles {
    /// Listens with `socket` on the unix socket `path`. A socket there on which nobody listens any
    /// longer is replaced; anything else is not ours to remove.
    ///
    /// Between `bind` and `listen` a socket looks as if it were abandoned, so the folder is locked:
    /// of two processes that start at once, one listens before the other looks.
    pub(crate) fn listen(
        &self,
        socket: impl AsFd,
        path: &Path,
        mode: Option<Mode>,
        backlog: i32,
    ) -> io::Result<()> {
        let lock = FolderLock::take(path, START_PATIENCE);
        if lock.is_none() {
            log::warn!(path:% = path.display(); "could not lock the folder of a unix socket");
        }
        remove_abandoned(path)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inode = openat(CWD, path, flags, Mode::empty())?;
        let outcome =
            mode.map_or(Ok(()), |mode| chmod(path, mode)).and_then(|()| listen(&socket, backlog));
        // What is kept may be removed at once, and that takes the lock.
        drop(lock);
        let socket = OwnSocket { path: path.to_owned(), inode };
        let mut files = self.lock();
        if !files.are_removed {
            files.sockets.push(socket);
        }
        Ok(outcome?)
    }

    /// Writes the id of this process to `path`, in the place of what an earlier process wrote.
    pub(crate) fn write_pid(&self, path: &Path, patience: &Patience) -> io::Result<()> {
        let file = PidFile::write(path, patience)?;
        let mut files = self.lock();
        if !files.are_removed {
            files.pid_file = Some(file);
        }
        Ok(())
    }

    /// Lets another process have the pid file, as this one is about to end.
    pub(crate) fn give_up_pid(&self) {
        self.lock().pid_file.iter().for_each(PidFile::give_up);
    }

    /// Removes the files, now and whenever one is made from now on.
    pub(crate) fn remove(&self) {
        let mut files = self.lock();
        files.are_removed = true;
        files.sockets.clear();
        files.pid_file = None;
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks whether the pid file could be written, so that a wrong path is told before anything else
/// is done.
///
/// # Errors
/// When it can't be written, is no regular file, or is that of a running process.
pub fn check_pid_file(path: &Path) -> io::Result<()> {
    pid_file::check(path, &Patience::until(Arc::default()))
}

impl OwnSocket {
    fn is_still_ours(&self) -> bool {
        let (Ok(found), Ok(made)) = (fs::symlink_metadata(&self.path), fstat(&self.inode)) else {
            return false;
        };
        (found.dev(), found.ino()) == (made.st_dev, made.st_ino)
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let _lock = FolderLock::take(&self.path, END_PATIENCE);
        if self.is_still_ours() {
            // Somebody else may have removed it just now, which is what is wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A lock on the folder that a socket is in, which leaves no file behind. It is for processes of
/// ours only; nobody else has to heed it.
struct FolderLock {
    _folder: OwnedFd,
}

/// How long a start waits for a lock. Who starts or ends holds it for a moment; another program that
/// holds it, such as `flock`, may do so for ever.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// How long the end waits for a lock.
const END_PATIENCE: Duration = Duration::from_millis(100);

/// How often who waits for a lock tries.
const LOCK_STEP: Duration = Duration::from_millis(2);

impl FolderLock {
    /// Locks the folder of `path`; None if that is not possible.
    fn take(path: &Path, patience: Duration) -> Option<Self> {
        let folder = pid_file::folder(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, folder, flags, Mode::empty()).ok()?;
        for _ in 0..patience.as_millis() / LOCK_STEP.as_millis() {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(Self { _folder: folder }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_STEP),
                Err(_) => return None,
            }
        }
        None
    }
}

/// Removes the unix socket that an earlier run left behind.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    match connection(path) {
        Err(Errno::NOENT) => Ok(()),
        // Only this says that nobody listens. A regular file says so too, and stays.
        Err(Errno::CONNREFUSED) => {
            if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            Ok(())
        }
        // A full backlog (EAGAIN) and a socket of another type (EPROTOTYPE) have a holder.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Tries to connect, without waiting for a listener that is busy.
fn connection(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(socket, &SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::{env, process};

    use super::*;

    fn place(name: &str) -> PathBuf {
        env::temp_dir().join(format!("nuthatch-own-{}-{name}", process::id()))
    }

    fn socket() -> OwnedFd {
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_unix_socket_goes_with_its_process_and_another_under_its_name_stays() {
        let (path, files) = (place("sock"), OwnFiles::default());
        let own = socket();
        files.listen(&own, &path, None, 1).unwrap();
        drop(own);
        // Nobody listens on it: it is replaced.
        files.listen(socket(), &path, None, 1).unwrap();
        files.remove();
        assert!(!path.exists());

        let files = OwnFiles::default();
        files.listen(socket(), &path, None, 1).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(files);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_made_during_the_end_is_removed_at_once() {
        let (path, files) = (place("late"), OwnFiles::default());
        files.remove();
        files.write_pid(&path, &Patience::default()).unwrap();
        assert!(!path.exists());
        files.listen(socket(), &path, None, 1).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_of_a_start_that_is_about_to_listen_is_not_taken_for_an_abandoned_one() {
        let path = place("race");
        let first = socket();
        let lock = FolderLock::take(&path, START_PATIENCE).unwrap();
        bind(&first, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let second = {
            let path = path.clone();
            thread::spawn(move || OwnFiles::default().listen(socket(), &path, None, 1))
        };
        thread::sleep(Duration::from_millis(100));
        listen(&first, 1).unwrap();
        drop(lock);
        let outcome = second.join().unwrap().unwrap_err();
        assert_eq!(outcome.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
        fs::remove_file(&path).unwrap();
    }
}
