//! What the process asks of the operating system.
#![allow(unsafe_code)]

/// Takes as many descriptors as the system grants: each connection, segment file and copy of the metadata needs one.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a descriptor of limits that lives on this stack.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        tracing::debug!("the limit of open descriptors could not be raised");
    }
}
