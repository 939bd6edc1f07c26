//! The program that tests make shims of: `neargate` without the rest.

fn main() {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|a| a == "shim") {
        neargate_runtime::shim_main(&args[2..]);
    }
    eprintln!("this program is only started by tests, as a shim");
    std::process::exit(2);
}
