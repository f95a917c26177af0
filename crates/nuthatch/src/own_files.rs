//! The files that the process creates in shared directories: unix sockets and the pid file.
//!
//! The one rule: the process removes only the files that it has created. A file that another
//! process has created under the same name in the meantime stays.

use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, CWD, FlockOperation, Mode, OFlags, access, chmod, flock, fstat, openat};
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
    /// Whether the process is ending: a file that is created now is removed at once.
    are_removed: bool,
    /// Whether an abandoned socket stays as it is.
    keeps_abandoned: bool,
}

/// Checks whether the pid file can be written, so that a wrong path is reported before the start.
/// Creates and locks nothing.
///
/// # Errors
/// When the file, or its directory, cannot be written, or it is not a regular file.
pub fn check_pid_file(path: &Path) -> io::Result<()> {
    pid_file::check(path)
}

/// Checks whether no running process has the pid file; waits for a process that was told to end.
///
/// # Errors
/// When a running process has it.
pub fn check_pid_file_is_free(path: &Path) -> io::Result<()> {
    pid_file::check_is_free(path, &Patience::until(Arc::default()))
}

/// Checks whether no running process has the pid file but `predecessor`, which gives it up.
pub(crate) fn check_pid_file_for(predecessor: u32, path: &Path) -> io::Result<()> {
    match pid_file::check_is_free(path, &Patience::default()) {
        Err(_) if fs::read_to_string(path).is_ok_and(|id| id.trim().parse() == Ok(predecessor)) => {
            Ok(())
        }
        outcome => outcome,
    }
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

/// A unix socket that is removed when this value is dropped, if it is still the created socket.
/// `inode` is open (`O_PATH`), so that the inode number cannot be reused for another file before the
/// comparison.
#[derive(Debug)]
struct OwnSocket {
    path: PathBuf,
    inode: OwnedFd,
    /// Whether another process removes it.
    is_left: bool,
}

/// How an inode is opened that is only to be compared.
const INODE_FLAGS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl OwnFiles {
    /// For a look whether unix sockets can be opened: an abandoned one stays, and [`Self::listen`] only
    /// looks whether it could be replaced.
    pub(crate) fn for_check() -> Self {
        Self(Arc::new(Mutex::new(Files { keeps_abandoned: true, ..Files::default() })))
    }

    /// Listens with `socket` on the unix socket `path`. A socket on which no process listens is
    /// replaced; other files are not removed.
    ///
    /// Between `bind` and `listen` a socket looks abandoned, so this locks the directory: of two
    /// processes that start at once, one listens before the other checks.
    pub(crate) fn listen(
        &self,
        socket: impl AsFd,
        path: &Path,
        mode: Option<Mode>,
        backlog: i32,
    ) -> io::Result<()> {
        let lock = DirectoryLock::take(path, START_PATIENCE);
        if lock.is_none() {
            log::warn!(path:% = path.display(); "failed to lock the directory of a unix socket");
        }
        if let Some(obstacle) = obstacle(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, obstacle));
        }
        if self.is_only_looked_at(path) {
            return self.look(path);
        }
        self.remove_abandoned(path)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        let inode = openat(CWD, path, INODE_FLAGS, Mode::empty())?;
        let outcome =
            mode.map_or(Ok(()), |mode| chmod(path, mode)).and_then(|()| listen(&socket, backlog));
        // If the socket is removed at once, that takes the lock.
        drop(lock);
        let socket = OwnSocket { path: path.to_owned(), inode, is_left: false };
        let mut files = self.lock();
        if !files.are_removed {
            files.sockets.push(socket);
        }
        Ok(outcome?)
    }

    /// Removes the socket that this process made at `path`.
    pub(crate) fn remove_socket(&self, path: &Path) {
        let mut files = self.lock();
        let gone: Vec<_> = files.sockets.extract_if(.., |socket| socket.path == path).collect();
        // The rest waits for the lock of a directory.
        drop(files);
        drop(gone);
    }

    /// Writes the id of this process to `path`, and overwrites the file of an earlier process.
    pub(crate) fn write_pid(&self, path: &Path, patience: &Patience) -> io::Result<()> {
        let file = PidFile::write(path, patience)?;
        let mut files = self.lock();
        if !files.are_removed {
            files.pid_file = Some(file);
        }
        Ok(())
    }

    /// Lets another process have the pid file, because this process is about to end.
    pub(crate) fn give_up_pid(&self) {
        self.lock().pid_file.iter().for_each(PidFile::give_up);
    }

    /// Leaves the pid file and the unix sockets to the process that takes over.
    pub(crate) fn leave(&self) {
        let mut files = self.lock();
        files.pid_file.iter().for_each(PidFile::give_up);
        files.sockets.drain(..).for_each(|mut socket| socket.is_left = true);
    }

    /// Owns a unix socket of the process that was taken over.
    pub(crate) fn adopt(&self, path: &Path) {
        // If this fails, the file is gone or cannot be removed by this process anyway.
        let Ok(inode) = openat(CWD, path, INODE_FLAGS, Mode::empty()) else { return };
        let socket = OwnSocket { path: path.to_owned(), inode, is_left: false };
        let mut files = self.lock();
        if !files.are_removed {
            files.sockets.push(socket);
        }
    }

    fn is_only_looked_at(&self, path: &Path) -> bool {
        self.lock().keeps_abandoned && fs::symlink_metadata(path).is_ok()
    }

    /// Whether the socket at `path` could be replaced.
    fn look(&self, path: &Path) -> io::Result<()> {
        match self.abandoned(path)? {
            true => Ok(access(pid_file::directory(path), Access::WRITE_OK | Access::EXEC_OK)?),
            // A link to an abandoned socket, which stays.
            false => Err(Errno::ADDRINUSE.into()),
        }
    }

    /// Removes the unix socket that an earlier run left behind.
    fn remove_abandoned(&self, path: &Path) -> io::Result<()> {
        if self.abandoned(path)? {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Whether there is a unix socket that an earlier run left behind.
    ///
    /// # Errors
    /// When somebody listens on it.
    fn abandoned(&self, path: &Path) -> io::Result<bool> {
        let refused = |kind, who| Err(io::Error::new(kind, who));
        match connection(path) {
            Err(Errno::NOENT) => Ok(false),
            // Only this says that nobody listens.
            Err(Errno::CONNREFUSED) => {
                Ok(fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()))
            }
            // A full backlog (EAGAIN) and a socket of another type (EPROTOTYPE) have a holder. This
            // process does not give up its own sockets, so the start does not wait for them.
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) if self.has(path) => {
                refused(io::ErrorKind::AlreadyExists, "this process listens on this socket already")
            }
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
                refused(io::ErrorKind::AddrInUse, "another process listens on this socket")
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the socket that is found at `path` is one of ours, by whatever path.
    pub(crate) fn has(&self, path: &Path) -> bool {
        let Ok(found) = fs::metadata(path) else { return false };
        self.lock().sockets.iter().any(|socket| {
            fstat(&socket.inode)
                .is_ok_and(|made| (found.dev(), found.ino()) == (made.st_dev, made.st_ino))
        })
    }

    /// Removes the files, and from now on every new file at once.
    pub(crate) fn remove(&self) {
        let ended = Files { are_removed: true, ..Files::default() };
        let files = mem::replace(&mut *self.lock(), ended);
        // This waits for the lock of a directory, and a start that holds it may look at the files.
        drop(files);
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        if self.is_left {
            return;
        }
        let _lock = DirectoryLock::take(&self.path, END_PATIENCE);
        if self.is_still_ours() {
            // If another process has just removed it, this fails, which is fine.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A lock on the directory of a socket, which leaves no file behind. Only Nuthatch's processes take
/// and respect it.
struct DirectoryLock {
    _directory: OwnedFd,
}

/// How long a start waits for the lock. A process that starts or ends holds it for a moment; another
/// program, such as `flock`, may hold it forever.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// How long the end waits for the lock.
const END_PATIENCE: Duration = Duration::from_millis(100);

/// The pause between two attempts to take the lock.
const LOCK_STEP: Duration = Duration::from_millis(2);

impl DirectoryLock {
    /// Locks the directory of `path`; `None` if this fails.
    fn take(path: &Path, patience: Duration) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, pid_file::directory(path), flags, Mode::empty()).ok()?;
        for _ in 0..patience.as_millis() / LOCK_STEP.as_millis() {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(Self { _directory: directory }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_STEP),
                Err(_) => return None,
            }
        }
        None
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
    fn a_socket_of_this_process_is_not_taken_for_another_process() {
        let (path, files) = (place("twice"), OwnFiles::default());
        let first = socket();
        files.listen(&first, &path, None, 1).unwrap();
        let error = files.listen(socket(), &path, None, 1).unwrap_err();
        assert_eq!(error.to_string(), "this process listens on this socket already");
        let error = OwnFiles::default().listen(socket(), &path, None, 1).unwrap_err();
        assert_eq!(error.to_string(), "another process listens on this socket");
    }

    #[test]
    fn what_is_no_socket_is_told_and_stays() {
        let (path, files) = (place("obstacle"), OwnFiles::default());
        fs::write(&path, "").unwrap();
        let error = files.listen(socket(), &path, None, 1).unwrap_err();
        assert_eq!(error.to_string(), "a file that is not a socket is in the way");
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
        let lock = DirectoryLock::take(&path, START_PATIENCE).unwrap();
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
