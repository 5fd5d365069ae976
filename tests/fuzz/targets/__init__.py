"""Every fuzz target by its name: one for each kind of bytes that a stranger can send, or leave lying about."""

from tests.fuzz.targets import admin, bodies, configuration, fields, heads, peers, policies, routing, trails

TARGETS = {
    target.name: target
    for module in (heads, bodies, fields, routing, policies, configuration, trails, admin, peers)
    for target in module.TARGETS
}
