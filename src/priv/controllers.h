/* SPDX-License-Identifier: MIT */
/* Limits of what the processes in a cgroup may use of the host. Facts:
 * Documentation/admin-guide/cgroup-v2.rst, "Controllers" and "No Internal Process Constraint". */
#pragma once

/*
 * Makes a controller ("memory", "pids", "cpu") work for the cgroups below root: enables it from the
 * top of the mount down to root, where it is not yet. If the process that calls is in the way (a
 * cgroup with processes cannot pass a resource on), it moves itself to "daemon" beside root.
 * 1: it works; 0: there is no such controller here; or a negative errno.
 */
int controller_enable(const char *root, const char *controller);

/* Writes a limit: file is "memory.max", "pids.max", ... -ENOENT: the controller does not work
 * there.
 */
int controller_limit(const char *path, const char *file, const char *value);
