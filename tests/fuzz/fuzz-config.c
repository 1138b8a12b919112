/* SPDX-License-Identifier: MIT */
/*
 * A configuration file, whole: lines, keys and values. It lies in memory, so that nothing is left
 * behind. One that is refused says so in a sentence that a log can take.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/text.h"
#include "config/config.h"
#include "fuzz.h"

/* All of a list is reached by walking it. */
static void check_list(const char *list)
{
	char name[CONFIG_NAME_SIZE];
	const char *cursor = list;

	while (text_list_next(&cursor, name, sizeof(name)))
		REQUIRE(!strpbrk(name, " \t,"));
	REQUIRE(cursor == list + strlen(list));
}

static void check(const struct config *config)
{
	REQUIRE(config->socket && *config->socket && config->state_directory);
	REQUIRE((config->socket_mode & ~0777u) == 0);
	REQUIRE(config->default_hold_us > 0 && config->default_hold_us <= config->max_hold_us);
	REQUIRE(config->kill_grace_us >= 0 && config->sensor_interval_us > 0);
	REQUIRE(config->visible < VISIBLE_MAX);
	REQUIRE((unsigned)config->guard_mode < GUARD_MODE_MAX);
	REQUIRE((unsigned)config->guard_method < GUARD_METHOD_MAX);
	check_list(config->session_cgroups);
	check_list(config->container_cgroups);
	check_list(config->device_majors);
	check_list(config->foreign_ignore);
	REQUIRE(config->connections > 0 && config->requests > 0);
	REQUIRE(!config_needs_restart(config, config));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(closep) int fd = memfd_create("config", MFD_CLOEXEC);
	_cleanup_(config_freep) struct config *config = NULL;
	struct error err = {};
	char path[64];

	REQUIRE(fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, data, size) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (config_load(path, &config, &err) == 0) {
		check(config);
		return 0;
	}
	REQUIRE(!config && err.id && *err.text);
	REQUIRE(text_is_utf8(err.text) && !strpbrk(err.text, "\n\x1b\x7f"));
	return 0;
}
