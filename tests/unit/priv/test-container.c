/* SPDX-License-Identifier: MIT */
#include "priv/container.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tap.h"
#include "base/fd.h"

#define A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

#define POD     "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice"
#define OWN     "/user.slice/user-1000.slice/user@1000.service"
#define ROUNDS  200000
#define ODD_MAX 300

static void check_parse(const char *path, const char *runtime, const char *id, bool in_system)
{
	struct container c = { 0 };

	printf("# %s\n", path);
	CHECK(container_parse(path, &c));
	CHECK_STR(c.runtime, runtime);
	CHECK_STR(c.id, id);
	CHECK(strncmp(c.name, id, 12) == 0 && c.name[12] == '\0');
	CHECK_INT(c.in_system, in_system);
	CHECK_INT(c.lease, 0);
}

static void knows_the_runtimes(void)
{
	check_parse("/system.slice/docker-" A ".scope", "docker", A, true);
	check_parse("/system.slice/docker-" A ".scope/init.scope", "docker", A, true);
	check_parse("/docker/" A, "docker", A, true);
	check_parse("/docker/" A "/sub", "docker", A, true);
	check_parse("/a.slice/a-b.slice/docker-" A ".scope", "docker", A, true);
	check_parse("/machine.slice/libpod-" A ".scope/container", "podman", A, true);
	check_parse("/libpod_parent/libpod-" A, "podman", A, true);
	check_parse(POD "/cri-containerd-" A ".scope", "kubernetes", A, true);
	check_parse(POD "/crio-" A ".scope/container", "kubernetes", A, true);
	check_parse("/kubepods/besteffort/pod1-2/" A, "kubernetes", A, true);
}

static void knows_what_others_may_make(void)
{
	check_parse(OWN "/user.slice/libpod-" A ".scope/container", "podman", A, false);
	check_parse(OWN "/app.slice/web.service/libpod-payload-" A, "podman", A, false);
	check_parse(OWN "/app.slice/docker-" A ".scope", "docker", A, false);
	check_parse("/user.slice/docker-" A ".scope", "docker", A, false);
	check_parse("/system.slice/web.service/libpod-payload-" A, "podman", A, false);
	check_parse("/machine.slice/m.scope/docker/" A, "docker", A, false);
}

static void the_outermost_counts(void)
{
	check_parse("/system.slice/docker-" A ".scope/docker/" B, "docker", A, true);
	check_parse(POD "/cri-containerd-" A ".scope/docker-" B ".scope", "kubernetes", A, true);
}

static void others_are_none(void)
{
	static const char *const paths[] = { "", "/", "//",
		"/user.slice/user-0.slice/session-1.scope", "/system.slice/docker.service",
		"/docker", "/docker/", "/docker/" A "0", "/docker//x", "/docker/x/" A, "/x/" A,
		"/" A, "/docker/0123456789ab", "/machine.slice/libpod-conmon-" A ".scope",
		"/machine.slice/crio-conmon-" A ".scope", "/system.slice/docker-" A "0.scope",
		"/system.slice/docker-.scope", "/system.slice/docker-" A ".service",
		"/system.slice/docker-" A ".scope.scope", "/system.slice/Docker-" A ".scope",
		"/system.slice/xdocker-" A ".scope",
		"/system.slice/"
		"docker-0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef."
		"scope" };
	struct container c;

	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		printf("# %s\n", paths[i]);
		CHECK(!container_parse(paths[i], &c));
	}
}

/* Pieces in any order, some cut: each result must be one that a runtime can have made. */
static void odd_paths_are_no_danger(void)
{
	static const char *const pieces[] = { "/", "//", "docker", "docker-", "libpod-", "crio-", A,
		B, ".scope", ".service", "user.slice", "kubepods", "0", "\xff\x01", "..",
		"payload-" };
	unsigned seed = 1;

	for (int round = 0; round < ROUNDS; round++) {
		size_t n = 0, parts = rand_r(&seed) % 8;
		char *path =
			calloc(ODD_MAX, 1); /* a place of its own, so that reading on is seen */
		struct container c;

		for (size_t i = 0; i < parts; i++)
			n += (size_t)snprintf(path + n, ODD_MAX - n, "%.*s",
				     rand_r(&seed) % 8 ? 64 : (int)(rand_r(&seed) % 64),
				     pieces[rand_r(&seed) % ELEMENTSOF(pieces)]) *
			     (n < ODD_MAX / 2);
		path = realloc(path, strlen(path) + 1);
		if (container_parse(path, &c)) {
			CHECK(c.runtime[0]);
			CHECK_INT(strlen(c.id), 64);
			CHECK_INT(strspn(c.id, "0123456789abcdef"), 64);
			CHECK(strstr(path, c.id) != NULL);
			CHECK_INT(strlen(c.name), 12);
		}
		free(path);
	}
}

/* --- files --- */

static char root[] = "/tmp/test-container-XXXXXX";

static void make_parents(char *path)
{
	for (char *p = path + strlen(root); (p = strchr(p + 1, '/'));) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
}

static const char *write_fixture(const char *name, const char *text, mode_t mode)
{
	static char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s%s", root, name);
	make_parents(path);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_INT(write_all(fd, text, strlen(text)), 0);
	CHECK_INT(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

#define DOCKER_FILE "/var/lib/docker/containers/" A "/config.v2.json"
#define PODMAN_FILE "/var/lib/containers/storage/overlay-containers/containers.json"

static struct container describe(const char *path)
{
	struct container c = { 0 };

	CHECK(container_parse(path, &c));
	container_describe(root, &c);
	return c;
}

static struct container describe_docker(const char *text)
{
	write_fixture(DOCKER_FILE, text, 0600);
	return describe("/docker/" A);
}

static void docker_names_and_labels(void)
{
	struct container c = describe_docker(
		"{\"Name\":\"/"
		"train\",\"Config\":{\"Labels\":{\"dibs.lease\":\"42\",\"x\":\"y\"}}}");

	CHECK_STR(c.name, "train");
	CHECK_INT(c.lease, 42);
	c = describe_docker("{\"Name\":\"/a\\u001b[2J\\n\\u009b\",\"Config\":{\"Labels\":null}}");
	CHECK_STR(c.name, "a?[2J??");
	CHECK_INT(c.lease, 0);
	c = describe("/docker/" B);
	CHECK_STR(c.name, "fedcba987654");
}

static void odd_files_say_nothing(void)
{
	static const char *const labels[] = { "\"\"", "\"0\"", "\"-1\"", "\"4 2\"", "\"0x2a\"",
		"\"9223372036854775808\"", "42", "null", "[]", "{}" };
	static const char *const texts[] = { "", "{", "[]", "null", "{\"Name\":7,\"Config\":[]}",
		"{\"Name\":\"\"}", "{\"Name\":\"/\",\"Config\":{\"Labels\":7}}" };
	char text[200];

	for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
		snprintf(text, sizeof(text), "{\"Config\":{\"Labels\":{\"dibs.lease\":%s}}}",
			labels[i]);
		CHECK_INT(describe_docker(text).lease, 0);
	}
	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		CHECK_STR(describe_docker(texts[i]).name, "0123456789ab");
}

static void only_files_that_root_alone_writes(void)
{
	static const char text[] = "{\"Name\":\"/x\"}";
	const char *path = write_fixture(DOCKER_FILE, text, 0622);
	char link[PATH_MAX + 8], *big = NULL;
	int fd;

	CHECK_STR(describe("/docker/" A).name, "0123456789ab");
	CHECK_INT(chmod(path, 0644), 0);
	CHECK_STR(describe("/docker/" A).name, "x");
	if (geteuid() == 0) {
		CHECK_INT(chown(path, 54020, -1), 0);
		CHECK_STR(describe("/docker/" A).name, "0123456789ab");
		CHECK_INT(chown(path, 0, -1), 0);
	}
	snprintf(link, sizeof(link), "%s.real", path);
	CHECK_INT(rename(path, link), 0);
	CHECK_INT(symlink(link, path), 0);
	CHECK_STR(describe("/docker/" A).name, "0123456789ab");
	unlink(path);
	unlink(link);
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_STR(describe("/docker/" A).name, "0123456789ab");
	write_fixture(DOCKER_FILE, text, 0600);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	big = calloc(1, 1024 * 1024 + 1);
	memset(big, ' ', 1024 * 1024);
	CHECK_INT(write_all(fd, big, 1024 * 1024), 0);
	CHECK_STR(describe("/docker/" A).name, "0123456789ab");
	CHECK_INT(ftruncate(fd, 1024 * 1024), 0);
	CHECK_STR(describe("/docker/" A).name, "x");
	free(big);
	close(fd);
	unlink(path);
}

static void podman_names(void)
{
	write_fixture(PODMAN_FILE,
		"[7,{\"id\":\"" B "\",\"names\":[\"other\"]},{\"id\":\"" A
		"\",\"names\":[\"no\\tte\",\"second\"]}]",
		0600);
	CHECK_STR(describe("/machine.slice/libpod-" A ".scope").name, "no?te");
	CHECK_STR(describe("/machine.slice/libpod-" B ".scope").name, "other");
	write_fixture(PODMAN_FILE, "[{\"id\":\"" A "\",\"names\":null}]", 0600);
	CHECK_STR(describe("/machine.slice/libpod-" A ".scope").name, "0123456789ab");
	unlink(write_fixture(PODMAN_FILE, "{}", 0600));
}

static void kubernetes_stays_as_it_is(void)
{
	CHECK_STR(describe(POD "/crio-" A ".scope").name, "0123456789ab");
}

/* What is left are directories that are empty but for each other. */
static void remove_directories(void)
{
	static const char *const files[] = { DOCKER_FILE, PODMAN_FILE };

	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s%s", root, files[i]);
		for (char *slash; (slash = strrchr(path, '/')) > path + 4;) {
			*slash = '\0';
			if (rmdir(path) < 0)
				break;
		}
	}
}

int main(void)
{
	if (!mkdtemp(root))
		return 1;
	TEST(knows_the_runtimes);
	TEST(knows_what_others_may_make);
	TEST(the_outermost_counts);
	TEST(others_are_none);
	TEST(odd_paths_are_no_danger);
	TEST(docker_names_and_labels);
	TEST(odd_files_say_nothing);
	TEST(only_files_that_root_alone_writes);
	TEST(podman_names);
	TEST(kubernetes_stays_as_it_is);
	remove_directories();
	return tap_done();
}
