"""Volumes: folders of a pod. The rule: they have the owner and mode that kubelet gives them."""

import os
from pathlib import Path

from .fields import Unknown, known


def create(folder: Path, spec: dict, config_maps: dict, group: int | None) -> Path:
    """Makes one volume and returns where it is on the node."""
    known(f"volume {spec['name']}", spec, "name configMap emptyDir")
    path = folder / spec["name"]
    path.mkdir(parents=True)
    if "configMap" in spec:
        fill(path, spec["configMap"], config_maps)
    elif "emptyDir" in spec:
        known(f"volume {spec['name']}", spec["emptyDir"] or {}, "medium sizeLimit")
        path.chmod(0o777)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o2777)
    else:
        raise Unknown(f"volume {spec['name']}: neither a configMap nor an emptyDir")
    return path


def fill(path: Path, spec: dict, config_maps: dict) -> None:
    """Writes the files of a ConfigMap."""
    known("configMap", spec, "name items")
    data = config_maps[spec["name"]]["data"]
    items = spec.get("items", [{"key": key, "path": key} for key in data])
    for item in items:
        (path / item["path"]).write_text(data[item["key"]])
