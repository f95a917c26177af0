"""Volumes: folders of a pod. The rule: they have the owner and mode that kubelet gives them, and a
ConfigMap or Secret that changes gets there as kubelet brings it: the files are links through the
link `..data`, which is turned to a new folder at one stroke."""

import os
import shutil
import tempfile
from pathlib import Path

from .fields import Unknown, known


def create(
    folder: Path, spec: dict, config_maps: dict, secrets: dict, group: int | None
) -> Path:
    """Makes one volume and returns where it is on the node."""
    known(f"volume {spec['name']}", spec, "name configMap emptyDir secret")
    path = folder / spec["name"]
    path.mkdir(parents=True)
    if "configMap" in spec:
        known("configMap", spec["configMap"], "name items")
        fill(path, spec["configMap"], config_maps[spec["configMap"]["name"]]["data"])
    elif "secret" in spec:
        known("secret", spec["secret"], "secretName items")
        fill(path, spec["secret"], secrets[spec["secret"]["secretName"]])
    elif "emptyDir" in spec:
        known(f"volume {spec['name']}", spec["emptyDir"] or {}, "medium sizeLimit")
        path.chmod(0o777)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o2777)
    else:
        raise Unknown(f"volume {spec['name']}: none of configMap, emptyDir and secret")
    return path


def fill(path: Path, spec: dict, data: dict[str, str]) -> None:
    """Writes the files of a ConfigMap or of a Secret, which everybody in the pod may read. Does
    nothing if they are so already, or if a key is no more there: then kubelet keeps what it has."""
    items = spec.get("items", [{"key": key, "path": key} for key in data])
    if not all(item["key"] in data for item in items):
        return
    files = {item["path"]: data[item["key"]] for item in items}
    link, old = path / "..data", (path / "..data").resolve()
    if link.exists() and files == {file.name: file.read_text() for file in old.iterdir()}:
        return
    new = Path(tempfile.mkdtemp(prefix="..", dir=path))
    new.chmod(0o755)
    for name, text in files.items():
        (new / name).write_text(text)
    begun = path / "..data_tmp"
    begun.symlink_to(new.name)
    if link.exists():
        begun.rename(link)
        shutil.rmtree(old)
        return
    begun.rename(link)
    for name in files:
        (path / name).symlink_to(f"..data/{name}")


def update(folder: Path, specs: list[dict], config_maps: dict, secrets: dict) -> None:
    """Brings the volumes of a pod up to date; what is gone from the cluster stays as it was."""
    for spec in specs:
        path = folder / spec["name"]
        if "configMap" in spec and spec["configMap"]["name"] in config_maps:
            fill(path, spec["configMap"], config_maps[spec["configMap"]["name"]]["data"])
        elif "secret" in spec and spec["secret"]["secretName"] in secrets:
            fill(path, spec["secret"], secrets[spec["secret"]["secretName"]])
