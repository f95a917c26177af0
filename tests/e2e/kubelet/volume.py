"""Volumes: folders of a pod. The rule: they have the owner and mode that kubelet gives them."""

import os
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
    """Writes the files of a ConfigMap or of a Secret, which everybody in the pod may read."""
    items = spec.get("items", [{"key": key, "path": key} for key in data])
    for item in items:
        (path / item["path"]).write_text(data[item["key"]])
