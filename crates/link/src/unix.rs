//! The link on one machine: a Unix socket under the data directory.
//!
//! Control listens, nodes and gateways connect. Only the user that runs control, or root, gets in: the socket is made
//! with mode 0600 before it appears under its name, and the kernel's word on the peer's user id is checked besides.

use crate::connection::{Connection, Timing};
use crate::{ControlConnection, LinkError, NodeConnection};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Accepts the connections of nodes.
#[derive(Debug)]
pub struct LinkListener {
    listener: UnixListener,
    path: PathBuf,
    timing: Timing,
}

impl LinkListener {
    /// Listens at `path`, whose directory is made when missing. A socket left by a dead process is replaced.
    ///
    /// # Errors
    /// `InUse` when a living process listens there, `Socket` otherwise.
    pub fn bind_unix(path: &Path, timing: Timing) -> Result<LinkListener, LinkError> {
        let failed = |source| LinkError::Socket {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let (address, _directory) = short(path).map_err(failed)?;
        if std::os::unix::net::UnixStream::connect(&address).is_ok() {
            return Err(LinkError::InUse { path: path.to_owned() });
        }
        // Made under another name and renamed, so that it is never there with wider permissions.
        let making = with_suffix(path, ".new");
        let (making_address, _making_directory) = short(&making).map_err(failed)?;
        match fs::remove_file(&making) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&making_address).map_err(failed)?;
        fs::set_permissions(&making, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&making, path).map_err(failed)?;
        Ok(LinkListener {
            listener,
            path: path.to_owned(),
            timing,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next stream, not yet greeted: greet in a task of its own (`Accepted::establish`), so that a peer that stalls
    /// holds up nobody.
    ///
    /// # Errors
    /// `Socket` when the listening socket itself fails, e.g. for want of file descriptors; accepting again may work.
    pub async fn accept(&self) -> Result<Accepted, LinkError> {
        let failed = |source| LinkError::Socket {
            path: self.path.clone(),
            source,
        };
        let (stream, _) = self.listener.accept().await.map_err(failed)?;
        Ok(Accepted {
            stream,
            timing: self.timing,
        })
    }
}

/// A stream whose peer is not known yet.
#[derive(Debug)]
pub struct Accepted {
    stream: UnixStream,
    timing: Timing,
}

impl Accepted {
    /// Checks who the peer is and greets it.
    ///
    /// # Errors
    /// `Peer` for a foreign user, otherwise as `Connection::establish`.
    pub async fn establish(self) -> Result<ControlConnection, LinkError> {
        self.establish_as().await
    }

    /// As `establish`, for any pair of messages.
    ///
    /// # Errors
    /// As `establish`.
    pub async fn establish_as<Out, In>(self) -> Result<Connection<Out, In>, LinkError>
    where
        Out: Serialize + 'static,
        In: DeserializeOwned + 'static,
    {
        let uid = self.stream.peer_cred()?.uid();
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            return Err(LinkError::Peer { uid });
        }
        Connection::establish(self.stream, self.timing).await
    }
}

/// Connects a node to the control that listens at `path`.
///
/// # Errors
/// `Socket` when nobody listens there, otherwise as `Connection::establish`.
pub async fn connect_unix(path: &Path, timing: Timing) -> Result<NodeConnection, LinkError> {
    connect_as(path, timing).await
}

/// As `connect_unix`, for any pair of messages.
///
/// # Errors
/// As `connect_unix`.
pub async fn connect_as<Out, In>(path: &Path, timing: Timing) -> Result<Connection<Out, In>, LinkError>
where
    Out: Serialize + 'static,
    In: DeserializeOwned + 'static,
{
    let failed = |source| LinkError::Socket {
        path: path.to_owned(),
        source,
    };
    let (address, _directory) = short(path).map_err(failed)?;
    let stream = UnixStream::connect(&address).await.map_err(failed)?;
    Connection::establish(stream, timing).await
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A socket address holds 107 bytes of path; a longer one is reached through its opened directory.
fn short(path: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    use std::os::fd::AsRawFd;
    const LONGEST: usize = 107;
    if path.as_os_str().len() <= LONGEST {
        return Ok((path.to_owned(), None));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidFilename));
    };
    let directory = File::open(parent)?;
    let address = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name);
    Ok((address, Some(directory)))
}
