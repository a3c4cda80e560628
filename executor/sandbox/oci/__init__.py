"""The oci engine: containers made by calling crun, or runc, directly, without a daemon between.

Read `engine` first; `bundle` says what a container is given, `roots` where its files come from,
`spawn` how the runtime is called, `cgroups` how limits, ends and removals work, `probe` whether all
of that works on this host.
"""
