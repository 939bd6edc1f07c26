//! Has the loader's list of what to adjust packed (`DT_RELR`): every role reads all of it at start, and unpacked it is more
//! than a megabyte. Only where the C library understands it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str| std::env::var(name).unwrap_or_default();
    // What is built here runs here.
    if is("HOST") == is("TARGET") && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Version of the C library, when it is that one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn glibc() -> Option<(u32, u32)> {
    unsafe extern "C" {
        fn gnu_get_libc_version() -> *const std::ffi::c_char;
    }
    // SAFETY: takes nothing, answers a text that stays.
    let text = unsafe { std::ffi::CStr::from_ptr(gnu_get_libc_version()) };
    let mut parts = text.to_str().ok()?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn glibc() -> Option<(u32, u32)> {
    None
}
