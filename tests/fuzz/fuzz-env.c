/* SPDX-License-Identifier: MIT */
/* The settings of GPULocker: whatever they are, what is made of them is settings of dibs. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/macro.h"
#include "base/text.h"
#include "cli/gpulocker.h"
#include "config/config.h"
#include "fuzz.h"

static void must_load(const char *text, size_t size)
{
	_cleanup_(closep) int fd = memfd_create("dibs.conf", MFD_CLOEXEC);
	_cleanup_(freep) char *path = text_format("/proc/self/fd/%d", fd);
	_cleanup_(config_freep) struct config *config = NULL;
	struct error err = { 0 };

	REQUIRE(fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, text, size) == 0);
	if (config_load(path, &config, &err) < 0)
		fprintf(stderr, "%s\n%s", err.text, text);
	REQUIRE(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(env_file_clear) struct env_file env = { 0 };
	_cleanup_(freep) char *text = NULL;
	struct gpulocker_counts counts;
	struct error err = { 0 };
	size_t written;
	FILE *out;
	int r;

	if (env_file_parse((const char *)data, size, "x", &env, &err) < 0) {
		REQUIRE(*err.text == 'x' && env.n == 0);
		return 0;
	}
	REQUIRE(env.n <= ENV_LINES_MAX);
	out = open_memstream(&text, &written);
	r = gpulocker_write(&env, "x", false, out, &counts, &err);
	fclose(out);
	if (r < 0) {
		REQUIRE(strncmp(err.text, "x:", 2) == 0 && written == 0);
		return 0;
	}
	REQUIRE(counts.taken + counts.other + counts.unknown == env.n);
	must_load(text, written);
	return 0;
}
