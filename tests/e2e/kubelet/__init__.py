"""A small kubelet: runs the objects of a rendered chart as containers, in Kubernetes' order.

It is here because a chart is only as right as what a cluster makes of it, and a whole cluster can't
run everywhere. From the outside in: `cluster` takes objects, `workload` keeps their pods, `pod` is
the life of one, `container` and `probe` and `volume` what it consists of, `service` and `dns` how
pods find each other. The rule: what it does not know it refuses (`fields`), rather than pass over.

What a cluster does and this does not: it has many nodes, starts failed containers anew, scales by
load, enforces network policies, lets a pod reach itself by way of its own service, and its news of
endpoints take as long as they take. A cluster here has addresses of IPv4 or of IPv6, not of both.
"""
