/* SPDX-License-Identifier: MIT */
/*
 * The runtimes name the cgroup of a container after its 64 digits:
 *
 *	docker       docker-ID.scope (systemd), docker/ID (cgroupfs)
 *	podman       libpod-ID.scope, libpod-ID (cgroupfs), libpod-payload-ID (--cgroups=split, as
 *in units made by quadlet) kubernetes   kubepods.../cri-containerd-ID.scope,
 *kubepods.../crio-ID.scope, kubepods.../ID
 *
 * What watches over a container beside it (libpod-conmon-ID.scope, crio-conmon-ID.scope) is not in
 * it. The outermost name counts: that one the runtime of this machine made, while those below it
 * can be made inside of the container.
 *
 * Whom systemd lets make cgroups of their own (Delegate=), it gives a service or a scope. So below
 * one of those, as below user.slice, anybody may have made it.
 */
#include "priv/container.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/text.h"

#define ID_DIGITS       64
#define SHORT_DIGITS    12
#define FILE_MAX_BYTES  (1024 * 1024)
#define LEASE_LABEL     "dibs.lease"
#define KUBERNETES_ROOT "kubepods"

/* --- names of cgroups --- */

struct part {
	const char *start; /* borrowed from the path */
	size_t n;
};

static const struct {
	const char *prefix, *runtime;
} runtimes[] = {
	{ "docker-", "docker" },
	{ "libpod-", "podman" },
	{ "libpod-payload-", "podman" },
	{ "cri-containerd-", "kubernetes" },
	{ "crio-", "kubernetes" },
};

/* The next name of the path after this one. */
static bool part_next(struct part *part)
{
	part->start += part->n;
	part->start += strspn(part->start, "/");
	part->n = strcspn(part->start, "/");
	return part->n > 0;
}

static bool part_is(const struct part *part, const char *text)
{
	return part->n == strlen(text) && memcmp(part->start, text, part->n) == 0;
}

static bool part_cut_start(struct part *part, const char *text)
{
	size_t n = strlen(text);

	if (part->n < n || memcmp(part->start, text, n) != 0)
		return false;
	part->start += n;
	part->n -= n;
	return true;
}

static bool part_cut_end(struct part *part, const char *text)
{
	size_t n = strlen(text);

	if (part->n < n || memcmp(part->start + part->n - n, text, n) != 0)
		return false;
	part->n -= n;
	return true;
}

static bool part_is_id(const struct part *part)
{
	return part->n == ID_DIGITS && strspn(part->start, "0123456789abcdef") >= ID_DIGITS;
}

/* The runtime that names its cgroups so, and the digits; NULL: none does. */
static const char *runtime_of_name(struct part part, struct part *ret_id)
{
	part_cut_end(&part, ".scope");
	for (size_t i = 0; i < ELEMENTSOF(runtimes); i++) {
		*ret_id = part;
		if (part_cut_start(ret_id, runtimes[i].prefix) && part_is_id(ret_id))
			return runtimes[i].runtime;
	}
	return NULL;
}

static void fill(struct container *ret, const char *runtime, const struct part *id, bool in_system)
{
	*ret = (struct container){ .in_system = in_system };
	text_copy(ret->runtime, sizeof(ret->runtime), runtime);
	memcpy(ret->id, id->start, ID_DIGITS);
	memcpy(ret->name, id->start, SHORT_DIGITS);
}

bool container_parse(const char *cgroup_path, struct container *ret)
{
	struct part part = { cgroup_path, 0 }, above = part, id;
	bool in_system = true, in_kubernetes = false;

	for (; part_next(&part); above = part) {
		struct part name = part;
		const char *runtime = runtime_of_name(part, &id);

		if (!runtime && part_is_id(&part)) {
			id = part;
			runtime = in_kubernetes               ? "kubernetes"
				  : part_is(&above, "docker") ? "docker"
							      : NULL;
		}
		if (runtime) {
			fill(ret, runtime, &id, in_system);
			return true;
		}
		if (part_is(&part, "user.slice") || part_cut_end(&name, ".service") ||
			part_cut_end(&name, ".scope"))
			in_system = false;
		if (part_cut_start(&name, KUBERNETES_ROOT))
			in_kubernetes = true;
	}
	return false;
}

/* --- files of the runtimes --- */

/* Only what root (or who we are, without root) alone can write. NULL: cannot be had. */
static json_t *load(const char *path)
{
	/* O_NONBLOCK: to open a fifo would wait for its writer. */
	_cleanup_(closep) int fd =
		open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
		return NULL;
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & (S_IWGRP | S_IWOTH))
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return NULL;
	n = read_all(fd, text, (size_t)st.st_size);
	return n < 0 ? NULL : json_loadb(text, (size_t)n, 0, NULL);
}

static void set_name(struct container *container, const char *name)
{
	if (!name || !*name)
		return;
	text_copy(container->name, sizeof(container->name), name);
	text_sanitize(container->name);
}

static void describe_docker(const char *root, struct container *container)
{
	_cleanup_(freep) char *path =
		text_format("%s/var/lib/docker/containers/%s/config.v2.json", root, container->id);
	_cleanup_(json_decrefp) json_t *config = path ? load(path) : NULL;
	const json_t *labels = json_object_get(json_object_get(config, "Config"), "Labels");
	const char *name = json_string_value(json_object_get(config, "Name"));
	const char *label = json_string_value(json_object_get(labels, LEASE_LABEL));
	uint64_t lease;

	if (name && *name == '/')
		name++;
	set_name(container, name);
	if (label && parse_uint(label, 1, INT64_MAX, &lease) == 0)
		container->lease = (int64_t)lease;
}

static void describe_podman(const char *root, struct container *container)
{
	_cleanup_(freep) char *path = text_format(
		"%s/var/lib/containers/storage/overlay-containers/containers.json", root);
	_cleanup_(json_decrefp) json_t *all = path ? load(path) : NULL;
	const json_t *one;
	size_t i;

	json_array_foreach (all, i, one) {
		const char *id = json_string_value(json_object_get(one, "id"));

		if (!id || strcmp(id, container->id) != 0)
			continue;
		set_name(container,
			json_string_value(json_array_get(json_object_get(one, "names"), 0)));
		return;
	}
}

void container_describe(const char *root, struct container *container)
{
	if (strcmp(container->runtime, "docker") == 0)
		describe_docker(root, container);
	else if (strcmp(container->runtime, "podman") == 0)
		describe_podman(root, container);
}
