"""Images for tests, made from Debian's static busybox: no registry is needed."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import platform
import tarfile

BUSYBOX = pathlib.Path("/bin/busybox")
APPLETS = "sh cat echo sleep ls true false id env printenv hostname httpd wget nc ping mount mkdir rm touch kill ps grep sed head tail wc dd seq date stat chmod ln df nslookup ip free nproc sync test trap yes tr cut sort mknod umount".split()


def layer(files, gz=True):
    """A layer from {path: (kind, data, mode)}."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, (kind, data, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.mode = mode
            if kind == "dir":
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif kind == "link":
                info.type = tarfile.SYMTYPE
                info.linkname = data
                tar.addfile(info)
            elif kind == "hard":
                info.type = tarfile.LNKTYPE
                info.linkname = data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def busybox_layer(extra=None):
    files = {d + "/": ("dir", None, 0o755) for d in ("bin", "etc", "root", "home", "var", "usr", "usr/bin")}
    files["tmp/"] = ("dir", None, 0o1777)
    files["bin/busybox"] = ("file", BUSYBOX.read_bytes(), 0o755)
    for applet in APPLETS:
        files[f"bin/{applet}"] = ("link", "busybox", 0o777)
    files["etc/passwd"] = ("file", b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\n", 0o644)
    files["etc/group"] = ("file", b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n", 0o644)
    files.update(extra or {})
    return layer(files)


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def write_layout(path, name, layers, config=None):
    """An OCI layout of uncompressed `layers` (compressed on the way); the manifest's digest."""
    path = pathlib.Path(path)
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    zipped = [put(gzip.compress(raw, 1)) for raw in layers]
    body = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/bin:/usr/bin"], "Cmd": ["sh"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(raw).hexdigest()}" for raw in layers]},
    }
    config_blob = put(json.dumps(body).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config_blob},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **z} for z in zipped],
    }
    entry = put(json.dumps(manifest).encode())
    index = {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": manifest["mediaType"], **entry, "annotations": {"org.opencontainers.image.ref.name": name}}
        ],
    }
    (path / "index.json").write_text(json.dumps(index))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return entry["digest"]


def busybox(path, name="busybox:test", config=None, unlike=False):
    """With `unlike` the layer is like no other, so that no layer on the node can stand for it."""
    extra = {"etc/unlike": ("file", os.urandom(4096), 0o644)} if unlike else None
    return write_layout(path, name, [busybox_layer(extra)], config)
