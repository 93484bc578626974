// Who a thread is. `wgsl!` adds this piece to every shader; an entry point takes `at: Invocation`.
// Math: none. Layout: none. Dispatch: that of the kernel behind it; a piece, without an entry point.

struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
}

// Number of the workgroup; the runtime folds more than 65,535 into two dimensions.
fn group_index(at: Invocation) -> u32 {
    return at.group.x + at.group.y * at.groups.x;
}

// Number of the thread where workgroups have 256 threads, one per element.
fn element(at: Invocation) -> u32 {
    return group_index(at) * 256u + at.lane;
}
