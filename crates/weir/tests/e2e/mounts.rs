//! A file system whose power can be cut: ext4 in an image that lies on a file system that can
//! share blocks between files.
//!
//! ```text
//! server ─▶ ext4 (mounted, own page cache) ─▶ loop device, direct I/O ─▶ image file on XFS
//!                                                                          │ cp --reflink=always
//!                                                                     image at one moment
//! ```
//! A copy by sharing blocks takes the image as it is at one moment, while it is written. What is
//! in it is what has left the page cache of the inner file system by then; what only lies in that
//! cache is lost, as when the power fails. The loop device writes past the outer page cache, and
//! what the outer one holds all the same is flushed by the copy. The inner file system is told
//! nothing: its journal is found as it was and replayed by the next mount.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why no file system can be made here, if so: one line.
pub(crate) fn what_is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root, so nothing can be mounted".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    for program in ["mkfs.xfs", "mkfs.ext4", "losetup"] {
        let version = Command::new(program).arg("-V").output();
        if version.is_err() {
            return Some(format!("{program} is not installed"));
        }
    }
    None
}

/// A mounted file system; unmounted when dropped.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
}

impl Mount {
    fn new(source: &Path, path: PathBuf, options: &str) -> Result<Mount, String> {
        std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let arguments: [&OsStr; 4] = [
            "-o".as_ref(),
            options.as_ref(),
            source.as_ref(),
            path.as_ref(),
        ];
        run("mount", &arguments)?;
        Ok(Mount { path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &[&self.path]) {
            // A process that still has files open there: it goes when that ends.
            eprintln!("{error}");
            let _ = run("umount", &[OsStr::new("--lazy"), self.path.as_ref()]);
        }
    }
}

/// The file system to cut, and the one that its image lies on.
pub(crate) struct Power {
    // The order is the order of unmounting.
    pub(crate) inner: Mount,
    outer: Mount,
    _directory: tempfile::TempDir,
}

const OUTER_BYTES: u64 = 8 << 30;
const INNER_BYTES: u64 = 1 << 30;

impl Power {
    /// Makes both, below a temporary directory. Sparse: what is not written needs no space.
    pub(crate) fn new() -> Result<Power, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let outer_image = directory.path().join("outer.img");
        sparse(&outer_image, OUTER_BYTES)?;
        run(
            "mkfs.xfs",
            &[
                "-q".as_ref(),
                "-m".as_ref(),
                "reflink=1".as_ref(),
                outer_image.as_os_str(),
            ],
        )?;
        let outer = Mount::new(&outer_image, directory.path().join("outer"), "loop")?;
        let inner_image = outer.path.join("inner.img");
        sparse(&inner_image, INNER_BYTES)?;
        run(
            "mkfs.ext4",
            &["-q".as_ref(), "-F".as_ref(), inner_image.as_os_str()],
        )?;
        let device = Command::new("losetup")
            .args(["--direct-io=on", "--show", "--find"])
            .arg(&inner_image)
            .output()
            .map_err(|error| error.to_string())?;
        if !device.status.success() {
            return Err(String::from_utf8_lossy(&device.stderr).into_owned());
        }
        let device = String::from_utf8_lossy(&device.stdout).trim().to_owned();
        let inner = Mount::new(
            Path::new(&device),
            directory.path().join("inner"),
            "noatime",
        );
        // Detached when it is unmounted, whoever does that.
        run("losetup", &["--detach", &device])?;
        Ok(Power {
            inner: inner?,
            outer,
            _directory: directory,
        })
    }

    /// Takes what the disk holds at this moment.
    pub(crate) fn cut(&self, number: usize) -> Result<Cut, String> {
        let image = self.outer.path.join(format!("cut-{number}.img"));
        let source = self.outer.path.join("inner.img");
        run(
            "cp",
            &[
                "--reflink=always".as_ref(),
                source.as_os_str(),
                image.as_os_str(),
            ],
        )?;
        let path = self.outer.path.with_file_name(format!("cut-{number}"));
        let mount = Mount::new(&image, path, "loop,noatime")?;
        Ok(Cut { mount, image })
    }
}

/// What a power cut left, mounted, which replayed the file system's own journal.
pub(crate) struct Cut {
    pub(crate) mount: Mount,
    image: PathBuf,
}

impl Drop for Cut {
    fn drop(&mut self) {
        // Space; what stays goes with the outer file system.
        let _ = std::fs::remove_file(&self.image);
    }
}

fn sparse(path: &Path, bytes: u64) -> Result<(), String> {
    let file = std::fs::File::create(path).map_err(|error| error.to_string())?;
    file.set_len(bytes).map_err(|error| error.to_string())
}

fn run(program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", said.trim()))
}
