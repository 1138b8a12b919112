/* SPDX-License-Identifier: MIT */
/*
 * Runs one fuzz target over each file of the folders named, so that what was once found stays
 * mended, also where there is no libFuzzer. Each input lies in memory of exactly its size: a byte
 * read beyond it is seen by the sanitizers. Speaks TAP; a broken promise aborts.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macro.h"
#include "fuzz.h"

DEFINE_CLEANUP(DIR *, closedir)

static void replay(int dir_fd, const char *name)
{
	_cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	_cleanup_(freep) uint8_t *data = NULL;
	struct stat st;

	REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
	data = malloc((size_t)st.st_size);
	REQUIRE(read(fd, data, (size_t)st.st_size) == st.st_size);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		_cleanup_(closedirp) DIR *dir = opendir(argv[i]);
		struct dirent *entry;

		REQUIRE(dir);
		while ((entry = readdir(dir))) {
			if (entry->d_name[0] == '.')
				continue;
			fprintf(stderr, "%s/%s\n", argv[i], entry->d_name);
			replay(dirfd(dir), entry->d_name);
			printf("ok %d - %s\n", ++n, entry->d_name);
		}
	}
	REQUIRE(n > 0);
	printf("1..%d\n", n);
	return 0;
}
