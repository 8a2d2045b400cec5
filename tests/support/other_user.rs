//! Another user of this machine, where this process may become one: as root.

use std::thread::{self, JoinHandle};

/// The other user's id: no account, no files, no rights.
pub(crate) const OTHER_USER: u32 = 61_234;

/// Runs `body` as the other user, on a thread of its own: the kernel keeps users by thread. Nothing where this process
/// may not do that.
pub(crate) fn as_other_user<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let run = move || {
        become_other_user();
        body()
    };
    Some(thread::spawn(run))
}

#[expect(unsafe_code, reason = "neither std nor rustix changes the user of one thread")]
fn become_other_user() {
    let user = libc::c_long::from(OTHER_USER);
    // SAFETY: the calls take numbers, and change the rights of this thread alone.
    let changed = unsafe {
        libc::syscall(libc::SYS_setresgid, user, user, user) == 0
            && libc::syscall(libc::SYS_setresuid, user, user, user) == 0
    };
    assert!(changed, "root may become another user");
}
