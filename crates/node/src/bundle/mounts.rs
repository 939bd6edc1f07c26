//! What is mounted into a container: volumes of the task and of the image, other containers' volumes, tmpfs.
//!
//! Called when a container is started. Pure: which host directories must exist is answered, not made.

use crate::ports::ImageConfig;
use neargate_link::{ContainerSpec, TaskSpec};
use neargate_runtime::{Mount, MountSource};
use std::path::{Path, PathBuf};

/// A container's volume mounts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volumes {
    pub mounts: Vec<Mount>,
    /// Directories of the node that must exist, made when missing.
    pub directories: Vec<PathBuf>,
}

/// The volumes of container `index`. `images` are the configurations of all containers of the task (those known).
///
/// # Errors
/// A mount point or `volumesFrom` that names nothing of the task.
pub fn volumes(
    spec: &TaskSpec,
    index: usize,
    images: &[Option<ImageConfig>],
    volume_dir: &Path,
) -> Result<Volumes, String> {
    let mut out = Volumes::default();
    collect(spec, index, images, volume_dir, false, &mut Vec::new(), &mut out)?;
    for tmpfs in &spec.containers[index].linux.tmpfs {
        let source = MountSource::Tmpfs {
            size: tmpfs.size,
            options: tmpfs.mount_options.clone(),
        };
        let mount = Mount {
            destination: tmpfs.container_path.clone(),
            source,
            read_only: false,
        };
        out.put(mount);
    }
    Ok(out)
}

impl Volumes {
    /// Later mounts take the place of earlier ones at the same path.
    fn put(&mut self, mount: Mount) {
        self.mounts.retain(|m| m.destination != mount.destination);
        self.mounts.push(mount);
    }
}

fn collect(
    spec: &TaskSpec,
    index: usize,
    images: &[Option<ImageConfig>],
    volume_dir: &Path,
    read_only: bool,
    visited: &mut Vec<usize>,
    out: &mut Volumes,
) -> Result<(), String> {
    if visited.contains(&index) {
        return Ok(());
    }
    visited.push(index);
    let container = &spec.containers[index];
    for path in images.get(index).into_iter().flatten().flat_map(|i| &i.volumes) {
        let host = volume_dir.join(image_volume_name(index, path));
        out.directories.push(host.clone());
        let source = MountSource::Bind {
            path: host,
            populate: true,
        };
        out.put(Mount {
            destination: path.clone(),
            source,
            read_only,
        });
    }
    for from in &container.volumes_from {
        let source = spec.containers.iter().position(|c| c.name == from.container);
        let source = source.ok_or_else(|| format!("volumesFrom names no container of the task: {}", from.container))?;
        collect(
            spec,
            source,
            images,
            volume_dir,
            read_only || from.read_only,
            visited,
            out,
        )?;
    }
    for point in &container.mounts {
        let mount = mount_point(spec, container, &point.volume, volume_dir, &mut out.directories)?;
        let read_only = read_only || point.read_only;
        out.put(Mount {
            destination: point.container_path.clone(),
            source: mount,
            read_only,
        });
    }
    Ok(())
}

fn mount_point(
    spec: &TaskSpec,
    container: &ContainerSpec,
    name: &str,
    volume_dir: &Path,
    directories: &mut Vec<PathBuf>,
) -> Result<MountSource, String> {
    let volume = spec.volumes.iter().find(|v| v.name == name);
    let volume = volume.ok_or_else(|| format!("container {} mounts unknown volume {name}", container.name))?;
    let (path, populate) = match &volume.host_path {
        Some(host_path) => (PathBuf::from(host_path), false),
        None => (volume_dir.join(format!("v-{name}")), true),
    };
    if volume.host_path.is_none() || !path.exists() {
        directories.push(path.clone());
    }
    Ok(MountSource::Bind { path, populate })
}

/// A directory name for the volume that an image declares at `path`.
fn image_volume_name(index: usize, path: &str) -> String {
    let safe: String = path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    format!("i-{index}-{}-{hash:016x}", safe.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use neargate_core::MiB;
    use neargate_link::{MountPoint, Tmpfs, VolumeFrom, VolumeSpec};

    fn text(volumes: &Volumes) -> Vec<String> {
        let describe = |m: &Mount| {
            let source = match &m.source {
                MountSource::Bind { path, populate } => format!("{} populate={populate}", path.display()),
                MountSource::Tmpfs { size, .. } => format!("tmpfs {}", size.0),
            };
            format!("{} <- {source}{}", m.destination, if m.read_only { " ro" } else { "" })
        };
        volumes.mounts.iter().map(describe).collect()
    }

    #[test]
    fn volumes_of_task_host_image_and_other_containers_are_mounted() {
        let mut spec = testing::task("app side");
        let volume = |name: &str, host: Option<&str>| VolumeSpec {
            name: name.to_owned(),
            host_path: host.map(ToOwned::to_owned),
        };
        let point = |volume: &str, path: &str, read_only| MountPoint {
            volume: volume.to_owned(),
            container_path: path.to_owned(),
            read_only,
        };
        spec.volumes = vec![volume("data", None), volume("host", Some("/etc"))];
        spec.containers[0].mounts = vec![point("data", "/data", false), point("host", "/host", true)];
        spec.containers[1].volumes_from = vec![VolumeFrom {
            container: "app".to_owned(),
            read_only: true,
        }];
        spec.containers[1].mounts = vec![point("data", "/data", false)];
        spec.containers[1].linux.tmpfs = vec![Tmpfs {
            container_path: "/tmp".to_owned(),
            size: MiB(8),
            mount_options: Vec::new(),
        }];
        let images = [
            Some(ImageConfig {
                volumes: vec!["/var/lib".to_owned()],
                ..ImageConfig::default()
            }),
            None,
        ];

        let app = volumes(&spec, 0, &images, Path::new("/t")).unwrap();
        let image_volume = format!("/t/{}", image_volume_name(0, "/var/lib"));
        assert_eq!(
            text(&app),
            [
                format!("/var/lib <- {image_volume} populate=true"),
                "/data <- /t/v-data populate=true".to_owned(),
                "/host <- /etc populate=false ro".to_owned(),
            ]
        );
        assert_eq!(
            app.directories,
            [PathBuf::from(&image_volume), PathBuf::from("/t/v-data")]
        );

        let side = volumes(&spec, 1, &images, Path::new("/t")).unwrap();
        assert_eq!(
            text(&side),
            [
                format!("/var/lib <- {image_volume} populate=true ro"),
                "/host <- /etc populate=false ro".to_owned(),
                "/data <- /t/v-data populate=true".to_owned(),
                "/tmp <- tmpfs 8".to_owned(),
            ]
        );

        spec.containers[0].mounts = vec![point("nope", "/x", false)];
        assert!(
            volumes(&spec, 0, &images, Path::new("/t"))
                .unwrap_err()
                .contains("nope")
        );
    }
}
