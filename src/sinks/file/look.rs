//! Checks whether a file can be written and rotated, and names the obstacle if not.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use super::{Options, folder_of};

/// Checks whether events can be written to the file, and whether it can be rotated. Creates nothing.
///
/// # Errors
/// The obstacle, and what to do about it.
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
        Err(error) => return Err(explain("check", path, &error)),
    }
    let mut folder = folder_of(path);
    while fs::metadata(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        && folder != folder_of(folder)
    {
        folder = folder_of(folder);
    }
    let usable = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, usable).map_err(|error| explain("create files in", folder, &error.into()))?;
    if options.max_bytes > 0
        && let Some(what) = in_the_way_of_renaming(path)
    {
        return Err(format!(
            "{} can be written, but not rotated at `max_bytes` ({}), so it would grow without end: {what}",
            path.display(),
            options.max_bytes
        ));
    }
    Ok(format!("{} can be written, and new files can be created in its folder", path.display()))
}

pub(super) fn not_a_file(path: &Path) -> String {
    format!("{} is not a regular file: choose another `path`, or the sink type `stdout` for a pipe", path.display())
}

/// Why a file cannot be renamed although new files can be created in its folder, as far as that can be seen; and what to
/// do about it.
fn in_the_way_of_renaming(path: &Path) -> Option<String> {
    let file = fs::symlink_metadata(path).ok()?;
    let folder = fs::metadata(folder_of(path)).ok()?;
    if is_mount(path).unwrap_or(file.dev() != folder.dev()) {
        return Some(MOUNT.to_owned());
    }
    // In a folder like /tmp, only the file's owner, the folder's owner and root can rename a file.
    let us = fs::metadata("/proc/self").ok()?.uid();
    let is_sticky = folder.mode() & 0o1000 != 0;
    (is_sticky && ![0, file.uid(), folder.uid()].contains(&us)).then(|| {
        "it belongs to another user, and in its folder only owners can rename files: choose a folder that belongs to this service"
            .into()
    })
}

const MOUNT: &str = "it is mounted by itself: mount its folder instead; or set `max_bytes = 0` and rotate it from outside by \
                     copying and truncating it";

/// Whether the path is a mount point; `None` if the system cannot tell.
fn is_mount(path: &Path) -> Option<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let seen = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).ok()?;
    let is_known = seen.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    is_known.then(|| seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// A sentence: what could not be done, why, and what to do about it.
pub(super) fn explain(action: &str, path: &Path, error: &io::Error) -> String {
    let reason = format!("cannot {action} {}: {error}; {}", path.display(), advice(error));
    #[cfg(test)]
    crate::french::expect(&reason);
    reason
}

/// What to do about it.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => MOUNT,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
        io::ErrorKind::PermissionDenied => "let the user of this service write there",
        io::ErrorKind::ReadOnlyFilesystem => "mount it writable or choose another `path`",
        io::ErrorKind::NotFound => "its folder is gone: mount it or create it again",
        io::ErrorKind::NotADirectory => "a part of `path` is a file and not a folder: correct it",
        _ => "see to the disk or choose another `path`",
    }
}
