/* SPDX-License-Identifier: MIT */
/*
 * The words are for an unquoted $(...), where the shell splits at blanks and leaves quotes as they
 * are. Those of --docker are meant for docker, which reads the value of --gpus as a line of CSV:
 * without them the second UUID would be another field, and no device. A UUID that is not one
 * harmless word is not printed.
 */
#include "cli/gpu_words.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cli/gpu.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "model/gpu.h"

static bool is_nvidia(json_t *gpu)
{
	return strcmp(wire_text(gpu, "vendor"), "nvidia") == 0;
}

static bool is_plain(const char *uuid)
{
	if (!*uuid)
		return false;
	for (; *uuid; uuid++)
		if (!isalnum((unsigned char)*uuid) && !strchr("-_.:/", *uuid))
			return false;
	return true;
}

static enum client_exit put_uuids(FILE *out, json_t *gpus, bool only_nvidia)
{
	const char *comma = "";
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu) {
		const char *uuid = wire_text(gpu, "uuid");

		if (only_nvidia && !is_nvidia(gpu))
			continue;
		if (!is_plain(uuid))
			return complain(EXIT_FAULT, "'%s' is no UUID of a GPU", uuid);
		fprintf(out, "%s%s", comma, uuid);
		comma = ",";
	}
	return EXIT_OK;
}

static enum client_exit put_indices(FILE *out, json_t *lease)
{
	char gpus[LEASE_GPUS_SIZE];

	lease_gpus(gpus, lease);
	fputs(gpus, out);
	return EXIT_OK;
}

/* The render node, whose name the kernel makes of its minor number; false if it has none here. */
static bool render_node(json_t *gpu, char *dst, size_t size)
{
	json_t *node;
	struct stat st;
	size_t i;

	json_array_foreach (json_object_get(gpu, "nodes"), i, node) {
		unsigned major, minor;

		if (!gpu_parse_node(node, &major, &minor) || major != DRM_MAJOR ||
			minor < DRM_RENDER_MINOR)
			continue;
		snprintf(dst, size, "/dev/dri/renderD%u", minor);
		return stat(dst, &st) == 0 && S_ISCHR(st.st_mode) &&
		       st.st_rdev == makedev(major, minor);
	}
	return false;
}

/* What is no NVIDIA GPU: its render node and, on AMD, the node that all of them share. */
static enum client_exit put_drm(FILE *out, json_t *gpus)
{
	bool kfd = false;
	char path[64];
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu) {
		if (is_nvidia(gpu))
			continue;
		if (!render_node(gpu, path, sizeof(path)))
			return complain(EXIT_FAULT,
				"GPU %" PRId64 " (%s) has no render node in /dev/dri, so there is "
				"nothing that docker could be given",
				wire_int(gpu, "index", 0), wire_text(gpu, "vendor"));
		fprintf(out, "--device %s ", path);
		kfd |= strcmp(wire_text(gpu, "vendor"), "amd") == 0;
	}
	if (kfd)
		fputs("--device /dev/kfd ", out);
	return EXIT_OK;
}

static void put_label(FILE *out, json_t *lease)
{
	fprintf(out, "--label dibs.lease=%" PRId64, wire_int(lease, "id", 0));
}

static enum client_exit put_docker(FILE *out, json_t *lease, json_t *gpus)
{
	enum client_exit exit = EXIT_OK;
	bool nvidia = false;
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		nvidia |= is_nvidia(gpu);
	if (nvidia) {
		fputs("--gpus \"device=", out);
		exit = put_uuids(out, gpus, true);
		fputs("\" ", out);
	}
	if (exit == EXIT_OK)
		exit = put_drm(out, gpus);
	put_label(out, lease);
	return exit;
}

static enum client_exit put_cdi(FILE *out, json_t *lease, json_t *gpus)
{
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu) {
		const char *uuid = wire_text(gpu, "uuid");

		if (!is_nvidia(gpu))
			return complain(EXIT_FAULT,
				"GPU %" PRId64 " (%s) has no name of CDI that dibs knows; "
				"try --docker",
				wire_int(gpu, "index", 0), wire_text(gpu, "vendor"));
		if (!is_plain(uuid))
			return complain(EXIT_FAULT, "'%s' is no UUID of a GPU", uuid);
		fprintf(out, "--device nvidia.com/gpu=%s ", uuid);
	}
	put_label(out, lease);
	return EXIT_OK;
}

enum client_exit gpu_words(FILE *out, enum opt form, json_t *lease, json_t *gpus)
{
	if (form == OPT_UUID)
		return put_uuids(out, gpus, false);
	if (form == OPT_INDEX)
		return put_indices(out, lease);
	return form == OPT_DOCKER ? put_docker(out, lease, gpus) : put_cdi(out, lease, gpus);
}
