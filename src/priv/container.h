/* SPDX-License-Identifier: MIT */
/*
 * Which container a process is in, by the path of its cgroup: docker, podman (rootless too),
 * containerd and CRI-O under kubernetes. Names come from the files of the runtime where root can
 * read them. A cgroup of that name can be made by a user below their own, so containers tell whom
 * to show, and give rights only where the comment says so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct container {
	char runtime[16]; /* "docker", "podman", "kubernetes" */
	char id[65];      /* hexadecimal */
	char name[128];   /* of people, sanitized; the first 12 digits of id if it is not known */
	/* The label dibs.lease of a docker container, 0 = none. Only root can write the file it is
	 * read from, and whoever can start docker containers is as good as root: it can be believed
	 * if in_system is set. */
	int64_t lease;
	bool in_system; /* not where others than root may make cgroups: user.slice, and below any
			 * service or scope */
};

/* From the path that process_cgroup() gives. False: it is none of a container. */
bool container_parse(const char *cgroup_path, struct container *ret);

/* Fills name and lease from the files below root ("" for this machine). Bounded and never blocking
 * on anything but the local disk; what is not found stays as it is. */
void container_describe(const char *root, struct container *container);
