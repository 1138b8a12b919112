/* SPDX-License-Identifier: MIT */
/* Backends on captured trees (tests/fixtures, which $FIXTURES names) and on trees that a test makes
 * in a directory of its own. */
#pragma once

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tap.h"
#include "base/text.h"
#include "gpu/backend.h"

/* The sysroot of a fixture; the caller frees. */
static inline char *fixture(const char *name)
{
	const char *directory = getenv("FIXTURES");

	return text_format("%s/%s", directory ? directory : "tests/fixtures", name);
}

/* One reading of one backend; the caller frees. NULL if it could not be opened or read. */
static inline struct sample *read_once(
	const struct backend *backend, const char *sysroot, struct error *err)
{
	_cleanup_(sample_freep) struct sample *sample = sample_new();
	struct backend_options options = { .sysroot = sysroot };
	void *context = NULL;
	int r = backend->open(&options, &context, err);

	if (r >= 0)
		r = backend->read(context, sample, err);
	if (context)
		backend->close(context);
	return r < 0 ? NULL : TAKE_PTR(sample);
}

static inline struct sample *read_fixture(const struct backend *backend, const char *name)
{
	_cleanup_(freep) char *sysroot = fixture(name);

	return read_once(backend, sysroot, NULL);
}

static char tree_root[] = "/tmp/dibs-tree-XXXXXX";
static unsigned tree_count;

/* A new directory that everybody may enter. */
static inline void tree_make(char directory[64])
{
	if (tree_count++ == 0) {
		CHECK(mkdtemp(tree_root) != NULL);
		CHECK_INT(chmod(tree_root, 0755), 0);
	}
	snprintf(directory, 64, "%s/%u", tree_root, tree_count);
	CHECK_INT(mkdir(directory, 0755), 0);
}

static inline int tree_unlink(
	const char *path, const struct stat *info, int type, struct FTW *where)
{
	return remove(path);
}

/* Ends a program whose tests made directories. */
static inline int tree_done(void)
{
	if (tree_count > 0)
		nftw(tree_root, tree_unlink, 16, FTW_DEPTH | FTW_PHYS);
	return tap_done();
}

/* Writes a file below it, with the directories above. */
static inline void tree_put(const char *directory, const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", directory, path);
	for (char *slash = full + strlen(directory) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	file = fopen(full, "we");
	CHECK(file != NULL);
	if (!file)
		return;
	fputs(text, file);
	fclose(file);
}

/* The pids of a GPU, "4711 4712"; the caller frees. */
static inline char *pids_of(const struct gpu *gpu)
{
	char *text = strdup("");

	for (size_t i = 0; i < gpu->n_processes; i++) {
		char *longer =
			text_format("%s%s%d", text, i > 0 ? " " : "", (int)gpu->processes[i].pid);

		free(text);
		text = longer;
	}
	return text;
}
