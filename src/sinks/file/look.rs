//! Looks whether a file can be written and rotated, and says what is in the way.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use super::{Options, folder_of};

/// Whether events can be written to the file, and whether it can be rotated. Makes nothing.
///
/// # Errors
/// What is in the way, and what to do about it.
pub(super) fn look(options: &Options) -> Result<String, String> {
    let path = &options.path;
    match fs::metadata(path) {
        Ok(existing) if !existing.is_file() => return Err(not_a_file(path)),
        Ok(_) => {
            // Opening for appending changes nothing, not even the time of the last change.
            fs::OpenOptions::new().append(true).open(path).map_err(|error| explain("open", path, &error))?;
            if options.max_bytes == 0 {
                return Ok(format!("{} can be written", path.display()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(explain("look at", path, &error)),
    }
    let mut folder = folder_of(path);
    while fs::metadata(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        && folder != folder_of(folder)
    {
        folder = folder_of(folder);
    }
    let usable = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, usable).map_err(|error| explain("make files in", folder, &error.into()))?;
    if options.max_bytes > 0
        && let Some(what) = in_the_way_of_renaming(path)
    {
        return Err(format!(
            "{} can be written, but not rotated at `max_bytes` ({}), so that it would grow without end: {what}",
            path.display(),
            options.max_bytes
        ));
    }
    Ok(format!("{} can be written, and its folder takes new files", path.display()))
}

pub(super) fn not_a_file(path: &Path) -> String {
    format!("{} is not a regular file: choose another `path`, or the sink type `stdout` for a pipe", path.display())
}

/// Why a file in a folder that takes new files cannot be renamed all the same, if that can be seen; and what to do.
fn in_the_way_of_renaming(path: &Path) -> Option<String> {
    let file = fs::symlink_metadata(path).ok()?;
    let folder = fs::metadata(folder_of(path)).ok()?;
    if is_mount(path).unwrap_or(file.dev() != folder.dev()) {
        return Some(MOUNT.to_owned());
    }
    // In a folder like /tmp only the owner of a file renames it, the folder's owner, and root.
    let us = fs::metadata("/proc/self").ok()?.uid();
    let is_sticky = folder.mode() & 0o1000 != 0;
    (is_sticky && ![0, file.uid(), folder.uid()].contains(&us)).then(|| {
        "it belongs to another user, and its folder lets only owners rename: choose a folder of this service's own"
            .into()
    })
}

const MOUNT: &str = "it is a mount of its own: mount its folder instead; or set `max_bytes = 0` and rotate it from outside by \
                     copying and truncating it";

/// Whether something is mounted just there; `None` where the system cannot tell.
fn is_mount(path: &Path) -> Option<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let seen = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).ok()?;
    let is_known = seen.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    is_known.then(|| seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// What could not be done, why, and what to do about it.
pub(super) fn explain(action: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {action} {}: {error}; {}", path.display(), advice(error))
}

/// What to do about it.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => MOUNT,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
        io::ErrorKind::PermissionDenied => "let the user of this service write there",
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable or choose another `path`",
        io::ErrorKind::NotFound => "its folder is gone: mount or make it again",
        io::ErrorKind::NotADirectory => "a part of `path` is a file and not a folder: correct it",
        _ => "see to the disk or choose another `path`",
    }
}
