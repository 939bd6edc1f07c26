//! What a container runs: arguments and environment, from the definition over the image's configuration.
//!
//! Called when a container is prepared. Pure. Precedence is Docker's: an `entryPoint` of the definition clears the
//! image's command, a `command` alone keeps the image's entry point. Environment: what is said of links, image, then what ECS
//! provides, then environment files (the first file that names a variable wins), then `environment`.

use super::envfile::Variable;
use crate::ports::ImageConfig;
use neargate_link::{ContainerSpec, LaunchType};

/// The arguments; none when neither the definition nor the image names a program.
pub fn arguments(container: &ContainerSpec, image: &ImageConfig) -> Option<Vec<String>> {
    let declared = |list: &Option<Vec<String>>| list.clone().filter(|l| !l.is_empty());
    let command = declared(&container.command);
    let (entry_point, command) = match declared(&container.entry_point) {
        Some(entry_point) => (entry_point, command.unwrap_or_default()),
        None => (image.entrypoint.clone(), command.unwrap_or_else(|| image.cmd.clone())),
    };
    let arguments: Vec<String> = entry_point.into_iter().chain(command).collect();
    if arguments.is_empty() { None } else { Some(arguments) }
}

/// Variables that ECS gives every container. `metadata`: where it asks about itself.
pub fn provided(launch_type: LaunchType, region: &str, metadata: Vec<Variable>) -> Vec<Variable> {
    let mut out = metadata;
    match launch_type {
        LaunchType::Fargate => {
            out.push(("AWS_EXECUTION_ENV".to_owned(), "AWS_ECS_FARGATE".to_owned()));
            out.push(("AWS_REGION".to_owned(), region.to_owned()));
            out.push(("AWS_DEFAULT_REGION".to_owned(), region.to_owned()));
        }
        LaunchType::Ec2 => out.push(("AWS_EXECUTION_ENV".to_owned(), "AWS_ECS_EC2".to_owned())),
    }
    out
}

/// The environment as `NAME=value`: what its own configuration says over the host name and `links`. The runtime adds
/// `PATH` and `HOME` where they are missing.
pub fn environment(
    container: &ContainerSpec,
    hostname: &str,
    links: &[Variable],
    configured: &[String],
) -> Vec<String> {
    let mut env = Environment::default();
    env.set("HOSTNAME", hostname);
    if container.pseudo_terminal {
        env.set("TERM", "xterm");
    }
    for (name, value) in links {
        env.set(name, value);
    }
    for entry in configured {
        env.set_entry(entry);
    }
    env.entries()
}

/// What a container's own configuration says of its environment, `NAME=value`; whoever links to it is told the same.
/// `files` are the environment files' variables in file order.
pub fn configured(
    container: &ContainerSpec,
    image: &ImageConfig,
    provided: &[Variable],
    files: &[Vec<Variable>],
) -> Vec<String> {
    let mut env = Environment::default();
    for entry in &image.env {
        env.set_entry(entry);
    }
    for (name, value) in provided {
        env.set(name, value);
    }
    let mut from_files = Environment::default();
    for (name, value) in files.iter().flatten() {
        from_files.set_once(name, value);
    }
    for (name, value) in from_files.0.iter().chain(&container.environment) {
        env.set(name, value);
    }
    env.entries()
}

/// Variables in the order in which they were first set.
#[derive(Default)]
struct Environment(Vec<Variable>);

impl Environment {
    fn entries(self) -> Vec<String> {
        let entry = |(name, value)| format!("{name}={value}");
        self.0.into_iter().map(entry).collect()
    }

    fn set_entry(&mut self, entry: &str) {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        self.set(name, value);
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn set_once(&mut self, name: &str, value: &str) {
        if !self.0.iter().any(|(n, _)| n == name) {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["serve"]),
            env: strings(&["PATH=/opt", "COLOR=red"]),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn an_entry_point_clears_the_image_command_and_a_command_keeps_the_entry_point() {
        let run = |entry: Option<&[&str]>, command: Option<&[&str]>| {
            let container = ContainerSpec {
                entry_point: entry.map(strings),
                command: command.map(strings),
                ..ContainerSpec::default()
            };
            arguments(&container, &image()).unwrap()
        };
        assert_eq!(run(None, None), ["/entry", "serve"]);
        assert_eq!(run(Some(&["sh", "-c"]), None), ["sh", "-c"]);
        assert_eq!(run(None, Some(&["check"])), ["/entry", "check"]);
        assert_eq!(run(Some(&["sh"]), Some(&["x"])), ["sh", "x"]);
        assert_eq!(run(Some(&[]), Some(&[])), ["/entry", "serve"]);
        assert_eq!(arguments(&ContainerSpec::default(), &ImageConfig::default()), None);
    }

    #[test]
    fn later_sources_win_and_the_first_environment_file_wins_among_files() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let container = ContainerSpec {
            environment: vec![pair("C", "env")],
            ..ContainerSpec::default()
        };
        let files = [
            vec![pair("A", "1"), pair("COLOR", "blue")],
            vec![pair("A", "2"), pair("C", "file")],
        ];
        let provided = provided(LaunchType::Fargate, "eu-west-1", Vec::new());
        let links = [pair("C", "link"), pair("DB_NAME", "/app/db")];
        let env = environment(
            &container,
            "host",
            &links,
            &configured(&container, &image(), &provided, &files),
        );
        let expected = [
            "HOSTNAME=host",
            "C=env",
            "DB_NAME=/app/db",
            "PATH=/opt",
            "COLOR=blue",
            "AWS_EXECUTION_ENV=AWS_ECS_FARGATE",
            "AWS_REGION=eu-west-1",
            "AWS_DEFAULT_REGION=eu-west-1",
            "A=1",
        ];
        assert_eq!(env, expected);
    }
}
