"""Every fuzz target by name: one for each kind of bytes that another party can send or store."""

from tests.fuzz.targets import admin, bodies, configuration, fields, heads, peers, policies, routing, trails

TARGETS = {
    target.name: target
    for module in (heads, bodies, fields, routing, policies, configuration, trails, admin, peers)
    for target in module.TARGETS
}
