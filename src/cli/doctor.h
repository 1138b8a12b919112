/* SPDX-License-Identifier: MIT */
/*
 * What "dibs doctor" looks at. A check reads a few files and what dibsd said, changes nothing and
 * starts nothing; so an ordinary user can run them all. What only root may see is skipped, and says
 * so.
 */
#pragma once

#include <sys/stat.h>

#include "cli/cli.h"
#include "model/nvreg.h"

enum health {
	HEALTH_OK,
	HEALTH_NOTE,    /* works, but not as well as it could */
	HEALTH_PROBLEM, /* exit 1 */
	HEALTH_SKIPPED, /* does not apply here, or we may not look */
	HEALTH_MAX,
};

struct finding {
	enum health health;
	char what[512]; /* what was found */
	char why[256];  /* why it matters; empty if all is well */
	char fix[320];  /* the exact line that mends it */
};

/* The machine that is looked at; all borrowed. */
struct host {
	int root;           /* directory that stands for "/"; paths of checks are below it */
	uid_t owner;        /* whose the files of dibsd must be: root */
	const char *socket; /* absolute */
	json_t *status;     /* reply of org.dibs.GetStatus; NULL: no dibsd */
	const char *silent; /* why there is none */
};

struct check {
	const char *name;
	void (*look)(const struct host *host, struct finding *finding);
};

/* Each to a NULL name. */
extern const struct check daemon_checks[], host_checks[], unit_checks[], jobs_checks[],
	gpu_checks[], guard_checks[];

void finding_set(struct finding *finding, enum health health, const char *fmt, ...) _printf_(3, 4);
void finding_fix(struct finding *finding, const char *why, const char *fmt, ...) _printf_(3, 4);

/* Is there something of this name (also a link that leads nowhere)? */
bool host_has(const struct host *host, const char *path);
bool host_has_systemd(const struct host *host);

/* Where a file system of this type is mounted (at path, unless that is NULL); false if nowhere. */
bool host_mount(
	const struct host *host, const char *type, const char *path, char *ret, size_t size);

/* The directory of systemd that has a unit of this name, or a link to one ("TARGET.wants/UNIT");
 * NULL: none. */
const char *host_find_unit(const struct host *host, const char *name);

/* A setting as /etc/dibs/dibs.conf and its drop-ins have it, else fallback. Not being allowed to
 * read them is a negative errno. */
int host_setting(const struct host *host, const char *section, const char *key,
	const char *fallback, char *dst, size_t size);

/* Does nvidia-persistenced run? */
bool host_has_persistenced(const struct host *host);

/* What the NVIDIA driver says of its device nodes; false: it is not there. */
bool host_nvreg(const struct host *host, struct nvreg *ret);

/* The mode of the guard, and its method or "". */
bool host_guard_is(const struct host *host, const char *mode, const char *method);

/* A file or directory must belong to the owner and must not be writable by others. missing: what it
 * means that it is not there. */
void check_owner(
	const struct host *host, struct finding *finding, const char *path, enum health missing);
