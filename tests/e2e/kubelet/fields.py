"""Which fields of an object are understood here. The rule: a field that is not is an error, so that
a chart can't seem tested by a kubelet that looked away."""


class Unknown(Exception):
    """A field that this kubelet can't carry out."""


# Where a pod may run, who it is towards the API server, how its messages are kept: with one node
# and no API server there is nothing to do for them.
INERT = """
    affinity automountServiceAccountToken imagePullPolicy imagePullSecrets
    minReadySeconds nodeSelector priorityClassName progressDeadlineSeconds revisionHistoryLimit
    serviceAccountName terminationMessagePath terminationMessagePolicy tolerations
    topologySpreadConstraints ttlSecondsAfterFinished
""".split()


def known(where: str, mapping: dict, names: str) -> dict:
    """The mapping itself, if it has no field but these and those that mean nothing here."""
    strangers = set(mapping) - set(names.split()) - set(INERT)
    if strangers:
        raise Unknown(f"{where}: not understood here: {', '.join(sorted(strangers))}")
    return mapping
