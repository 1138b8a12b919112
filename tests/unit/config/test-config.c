/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/parse.h"

#define HOUR_US   (3600 * USEC_PER_SEC)
#define NOBODY    65534
#define PATH_ROOM 256

static char dir[] = "/tmp/dibs-config-XXXXXX";
static char path[sizeof(dir) + 16], drop_ins[sizeof(path) + 2];

static void write_bytes(const char *name, const char *text, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write_all(fd, text, strlen(text)) == 0 && fchmod(fd, mode) == 0);
	close(fd);
}

static void drop_in(const char *name, const char *text)
{
	char full[2 * PATH_ROOM];

	mkdir(drop_ins, 0755);
	snprintf(full, sizeof(full), "%s/%s", drop_ins, name);
	write_bytes(full, text, 0644);
}

static void remove_drop_in(const char *name)
{
	char full[2 * PATH_ROOM];

	snprintf(full, sizeof(full), "%s/%s", drop_ins, name);
	CHECK(unlink(full) == 0);
}

static struct config *load(struct error *err, int expected)
{
	struct config *config = NULL;
	int r = config_load(path, &config, err);

	CHECK_INT(r, expected);
	CHECK(!config == (r < 0)); /* written on success alone */
	return config;
}

static struct config *load_text(const char *text, struct error *err, int expected)
{
	write_bytes(path, text, 0644);
	return load(err, expected);
}

static void empty_means_defaults(void)
{
	struct error err = { 0 };
	_cleanup_(config_freep) struct config *c = load_text("", &err, 0);

	CHECK(!err.id);
	if (!c)
		return;
	CHECK_STR(c->socket, "/run/dibs/socket");
	CHECK_INT(c->socket_mode, 0666);
	CHECK_INT(c->socket_group, (gid_t)-1);
	CHECK_STR(c->state_directory, "/var/lib/dibs");
	CHECK_INT(c->admin_group, (gid_t)-1);
	CHECK(!c->cgroup_root);
	CHECK_INT(c->default_hold_us, 8 * HOUR_US);
	CHECK_INT(c->max_hold_us, 7 * 24 * HOUR_US);
	CHECK_INT(c->kill_grace_us, 30 * USEC_PER_SEC);
	CHECK_INT(c->visible, VISIBLE_UUID);
	CHECK_INT(c->sensor_interval_us, USEC_PER_SEC);
	CHECK_INT(c->sensor_deadline_us, 10 * USEC_PER_SEC);
	CHECK(!c->sensor_exec);
	CHECK_INT(c->guard_mode, GUARD_OFF);
	CHECK_INT(c->guard_method, GUARD_AUTO);
	CHECK_STR(c->session_cgroups,
		"user.slice,-system.slice/cron.service,-system.slice/crond.service,"
		"-system.slice/atd.service");
	CHECK_STR(c->container_cgroups, "");
	CHECK_STR(c->device_majors, "");
	CHECK(strstr(c->foreign_ignore, "gnome-shell,"));
	CHECK_INT(c->foreign_min_memory_mib, 0);
	CHECK_INT(c->idle_hold_us, 2 * HOUR_US);
	CHECK_INT(c->idle_run_us, 0);
	CHECK_INT(c->idle_job_us, 0);
	CHECK_INT(c->idle_grace_us, HOUR_US / 4);
	CHECK(!c->hook_on_event);
	CHECK_INT(c->hook_timeout_us, 30 * USEC_PER_SEC);
	CHECK_INT(c->connections_per_user, 200);
	CHECK_INT(c->connections, 4096);
	CHECK_INT(c->requests_per_user, 1000);
	CHECK_INT(c->requests, 20000);
	CHECK_INT(c->changes_per_hour, 20000);
}

static void every_setting_is_read(void)
{
	_cleanup_(config_freep) struct config *c = load_text(
		"[daemon]\r\nsocket = /a/b c\r\nsocket-mode = 660\nsocket-group = root\n"
		"state-directory = /s\nadmin-group = 4294967294\ncgroup-root = /sys/fs/cgroup/x\n"
		"[lease]\ndefault-hold = 1h30m\nmax-hold = 2d\nkill-grace = 0\nvisible = index\n"
		"[sensor]\ninterval = 2s\ndeadline = 3s\nexec = /e\n"
		"[guard]\nmode = deny\nmethod = filter\nsession-cgroups = user.slice , /a/b@1:2\n"
		"container-cgroups = docker\ndevice-majors = 1,\t4095\n"
		"[foreign]\nignore =\nmin-memory = 2G\n"
		"[idle]\nhold-after = never\nrun-after = 90s\njob-after = 0\ngrace = 0\n"
		"[hook]\non-event = /h\ntimeout = 2s\n"
		"[limits]\nconnections-per-user = 1\nconnections = 2\nrequests-per-user = 3\n"
		"requests = 4\nchanges-per-hour = 5\n",
		NULL, 0);

	if (!c)
		return;
	CHECK_STR(c->socket, "/a/b c");
	CHECK_INT(c->socket_mode, 0660);
	CHECK_INT(c->socket_group, 0);
	CHECK_STR(c->state_directory, "/s");
	CHECK_INT(c->admin_group, (gid_t)-2);
	CHECK_STR(c->cgroup_root, "/sys/fs/cgroup/x");
	CHECK_INT(c->default_hold_us, 90 * 60 * USEC_PER_SEC);
	CHECK_INT(c->max_hold_us, 48 * HOUR_US);
	CHECK_INT(c->kill_grace_us, 0);
	CHECK_INT(c->visible, VISIBLE_INDEX);
	CHECK_INT(c->sensor_interval_us, 2 * USEC_PER_SEC);
	CHECK_INT(c->sensor_deadline_us, 3 * USEC_PER_SEC);
	CHECK_STR(c->sensor_exec, "/e");
	CHECK_INT(c->guard_mode, GUARD_DENY);
	CHECK_INT(c->guard_method, GUARD_FILTER);
	CHECK_STR(c->session_cgroups, "user.slice,/a/b@1:2");
	CHECK_STR(c->container_cgroups, "docker");
	CHECK_STR(c->device_majors, "1,4095");
	CHECK_STR(c->foreign_ignore, "");
	CHECK_INT(c->foreign_min_memory_mib, 2048);
	CHECK_INT(c->idle_hold_us, 0);
	CHECK_INT(c->idle_run_us, 90 * USEC_PER_SEC);
	CHECK_INT(c->idle_job_us, 0);
	CHECK_INT(c->idle_grace_us, 0);
	CHECK_STR(c->hook_on_event, "/h");
	CHECK_INT(c->hook_timeout_us, 2 * USEC_PER_SEC);
	CHECK_INT(c->connections_per_user, 1);
	CHECK_INT(c->connections, 2);
	CHECK_INT(c->requests_per_user, 3);
	CHECK_INT(c->requests, 4);
	CHECK_INT(c->changes_per_hour, 5);
}

/* The sentence after "FILE:LINE: ", or the whole. */
static const char *after_place(const struct error *err, const char *line)
{
	char place[2 * PATH_ROOM];

	snprintf(place, sizeof(place), "%s:%s: ", path, line);
	return strncmp(err->text, place, strlen(place)) == 0 ? err->text + strlen(place)
							     : err->text;
}

#define NAMES "must be names of letters, digits and ._@:/-, with a comma between two of them"

static void refuses_bad_values(void)
{
	static const struct {
		const char *text, *sentence;
	} bad[] = {
		{ "[nope]\nx = 1\n", "unknown section [nope]" },
		{ "[lease]\nmax_hold = 1d\n",
			"unknown key 'max_hold' in [lease]; did you mean 'max-hold' in [lease]?" },
		{ "[daemon]\nmax-hold = 1d\n",
			"unknown key 'max-hold' in [daemon]; did you mean 'max-hold' in [lease]?" },
		{ "[daemon]\nport = 80\n", "unknown key 'port' in [daemon]" },
		{ "[daemon]\nsocket = run/x\n", "socket = run/x: must be an absolute path" },
		{ "[daemon]\nsocket =\n", "socket = : must be an absolute path" },
		{ "[daemon]\nstate-directory = .\n",
			"state-directory = .: must be an absolute path" },
		{ "[daemon]\ncgroup-root = x\n", "cgroup-root = x: must be an absolute path" },
		{ "[daemon]\nsocket-mode = 0668\n",
			"socket-mode = 0668: must be an octal mode such as 0666" },
		{ "[daemon]\nsocket-mode = 00666\n",
			"socket-mode = 00666: must be an octal mode such as 0666" },
		{ "[daemon]\nsocket-mode = 4777\n",
			"socket-mode = 4777: must be made of read and write bits alone, such as "
			"0666 or 0660" },
		{ "[daemon]\nadmin-group = no-such-group\n",
			"admin-group = no-such-group: is a group that is not in /etc/group; write "
			"its number instead" },
		{ "[daemon]\nadmin-group = 4294967295\n",
			"admin-group = 4294967295: is too large for a group number" },
		{ "[lease]\nmax-hold = 7\n",
			"max-hold = 7: must be a duration such as 90s or 1h30m, from 1s to "
			"521w3d" },
		{ "[lease]\nmax-hold = 0\n",
			"max-hold = 0: must be a duration such as 90s or 1h30m, from 1s to "
			"521w3d" },
		{ "[lease]\nkill-grace = 2d\n",
			"kill-grace = 2d: must be a duration such as 90s or 1h30m, from 0s to 1d" },
		{ "[lease]\nvisible = UUID\n", "visible = UUID: must be 'uuid' or 'index'" },
		{ "[guard]\nmode = on\n", "mode = on: must be 'off', 'watch' or 'deny'" },
		{ "[guard]\nmethod =\n", "method = : must be 'auto', 'filter' or 'acl'" },
		{ "[guard]\nsession-cgroups = a,,b\n", "session-cgroups = a,,b: " NAMES },
		{ "[guard]\ncontainer-cgroups = ,\n", "container-cgroups = ,: " NAMES },
		{ "[guard]\ncontainer-cgroups = a b\n", "container-cgroups = a b: " NAMES },
		{ "[foreign]\nignore = a,%n\n", "ignore = a,%n: " NAMES },
		{ "[guard]\ndevice-majors = 1,0\n",
			"device-majors = 1,0: must be numbers from 1 to 4095, with a comma between "
			"two of them" },
		{ "[foreign]\nmin-memory = 100\n",
			"min-memory = 100: must be 0 or a size such as 100M or 2G, at most "
			"16777216M" },
		{ "[foreign]\nmin-memory = 17T\n",
			"min-memory = 17T: must be 0 or a size such as 100M or 2G, at most "
			"16777216M" },
		{ "[idle]\nrun-after = off\n",
			"run-after = off: must be 'never' or a duration such as 90s or 1h30m, from "
			"1s to 521w3d" },
		{ "[idle]\ngrace = never\n",
			"grace = never: must be a duration such as 90s or 1h30m, from 0s to 1w" },
		{ "[limits]\nrequests = 0\n", "requests = 0: must be a number from 1 to 1000000" },
		{ "[limits]\nrequests = -1\n",
			"requests = -1: must be a number from 1 to 1000000" },
		{ "[limits]\nrequests = 1e3\n",
			"requests = 1e3: must be a number from 1 to 1000000" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		struct error err = { 0 };
		_cleanup_(config_freep) struct config *c = load_text(bad[i].text, &err, -EINVAL);

		CHECK(!c);
		CHECK_STR(after_place(&err, "2"), bad[i].sentence);
		CHECK(strncmp(err.text, path, strlen(path)) == 0);
	}
}

static void a_key_twice_is_refused(void)
{
	struct error err = { 0 };

	load_text("[lease]\nmax-hold = 1d\n[daemon]\n[lease]\nmax-hold = 1d\n", &err, -EINVAL);
	CHECK_STR(after_place(&err, "5"), "'max-hold' is set a second time in this file");
}

static void settings_must_agree(void)
{
	struct error err = { 0 };
	_cleanup_(config_freep) struct config *equal =
		load_text("[lease]\ndefault-hold = 1d\nmax-hold = 1d\n", NULL, 0);

	CHECK(equal);
	load_text("[lease]\nmax-hold = 1h\n", &err, -EINVAL);
	CHECK_STR(err.text, "[lease] default-hold (8h) is longer than max-hold (1h)");
	load_text("[sensor]\ninterval = 10s\n", &err, -EINVAL);
	CHECK_STR(err.text, "[sensor] deadline (10s) must be longer than interval (10s)");
}

static void socket_path_fits_its_address(void)
{
	char text[PATH_ROOM], socket[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	struct error err = { 0 };

	memset(socket, 'x', sizeof(socket));
	socket[0] = '/';
	for (int longer = 0; longer < 2; longer++) {
		_cleanup_(config_freep) struct config *c = NULL;

		socket[sizeof(socket) - 2 + longer] = '\0';
		snprintf(text, sizeof(text), "[daemon]\nsocket = %.*s\n",
			(int)sizeof(socket) - 2 + longer, socket);
		c = load_text(text, &err, longer ? -EINVAL : 0);
		socket[sizeof(socket) - 2 + longer] = 'x';
	}
	CHECK(strstr(err.text, "must be a path of at most 107 bytes"));
}

static void long_values_leave_room_for_the_reason(void)
{
	char text[4000] = "[limits]\nrequests = ";
	struct error err = { 0 };
	size_t n = strlen(text);

	memset(text + n, '9', sizeof(text) - n - 1);
	text[sizeof(text) - 1] = '\0';
	load_text(text, &err, -EINVAL);
	CHECK(strstr(err.text, "must be a number from 1 to 1000000"));
}

static void drop_ins_override_in_order(void)
{
	_cleanup_(config_freep) struct config *c = NULL;

	drop_in("20-b.conf", "[limits]\nrequests = 20\n");
	drop_in("10-a.conf", "[limits]\nrequests = 10\nconnections = 10\n");
	drop_in("9-z.conf", "[limits]\nrequests = 9\n"); /* by bytes: after "20" */
	drop_in("99.conf.orig", "broken");
	drop_in(".hidden.conf", "broken");
	c = load_text("[limits]\nrequests = 1\nconnections = 1\nrequests-per-user = 1\n", NULL, 0);
	if (c) {
		CHECK_INT(c->requests, 9);
		CHECK_INT(c->connections, 10);
		CHECK_INT(c->requests_per_user, 1);
	}
	remove_drop_in("20-b.conf");
	remove_drop_in("10-a.conf");
	remove_drop_in("9-z.conf");
	remove_drop_in("99.conf.orig");
	remove_drop_in(".hidden.conf");
}

static void a_bad_drop_in_refuses_all(void)
{
	struct error err = { 0 };

	drop_in("x.conf", "[limits]\nrequest = 20\n");
	load_text("[limits]\nrequests = 1\n", &err, -EINVAL);
	CHECK(strstr(err.text, ".d/x.conf:2: unknown key 'request' in [limits]; did you mean "
			       "'requests' in [limits]?"));
	remove_drop_in("x.conf");
}

static void others_must_not_write(void)
{
	static const mode_t modes[] = { 0664, 0646, 0622 };
	struct error err = { 0 };
	_cleanup_(config_freep) struct config *c = NULL;

	for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
		write_bytes(path, "", modes[i]);
		load(&err, -EPERM);
		CHECK_STR(err.id, "config.writable");
	}
	write_bytes(path, "", 0644);
	drop_in("x.conf", "");
	chmod(drop_ins, 0775);
	load(&err, -EPERM);
	CHECK(strstr(
		err.text, ".conf.d can be written by others than its owner; run 'chmod go-w "));
	chmod(drop_ins, 0755);
	c = load(&err, 0);
	remove_drop_in("x.conf");
}

static void strangers_must_not_own(void)
{
	struct error err = { 0 };

	write_bytes(path, "", 0644);
	CHECK(chown(path, NOBODY, 0) == 0);
	load(&err, -EPERM);
	CHECK(strstr(err.text, "belongs to user 65534; chown it to root"));
	CHECK(chown(path, 0, 0) == 0);
}

static void links_are_judged_by_their_target(void)
{
	char target[2 * PATH_ROOM];
	struct error err = { 0 };
	_cleanup_(config_freep) struct config *c = NULL;

	snprintf(target, sizeof(target), "%s/target", dir);
	write_bytes(target, "[limits]\nrequests = 7\n", 0644);
	unlink(path);
	CHECK(symlink(target, path) == 0);
	c = load(&err, 0);
	CHECK(c && c->requests == 7);
	chmod(target, 0666);
	load(&err, -EPERM);
	unlink(path);
	unlink(target);
}

static void only_regular_files(void)
{
	struct error err = { 0 };

	unlink(path);
	CHECK(mkfifo(path, 0644) == 0);
	load(&err, -EINVAL);
	CHECK(strstr(err.text, "is not a regular file"));
	unlink(path);
	load(&err, -ENOENT);
	CHECK(strstr(err.text, "cannot open "));
}

static void tells_what_needs_a_restart(void)
{
	_cleanup_(config_freep) struct config *a = load_text("", NULL, 0), *b = NULL, *c = NULL,
					      *d = NULL, *e = NULL, *f = NULL;

	b = load_text("[lease]\nmax-hold = 9d\n[limits]\nrequests = 7\n[daemon]\nadmin-group = 0\n",
		NULL, 0);
	c = load_text("[daemon]\ncgroup-root = /x\n", NULL, 0);
	d = load_text("[sensor]\ninterval = 2s\n", NULL, 0);
	e = load_text("[guard]\nmode = watch\n[idle]\ngrace = 0\n[hook]\non-event = /x\n", NULL, 0);
	f = load_text("[guard]\nsession-cgroups = user.slice,x\n", NULL, 0);
	if (!a || !b || !c || !d || !e || !f)
		return;
	CHECK(!config_needs_restart(a, a));
	CHECK(!config_needs_restart(a, b));
	CHECK_STR(config_needs_restart(a, c), "cgroup-root");
	CHECK_STR(config_needs_restart(c, b), "cgroup-root");
	CHECK_STR(config_needs_restart(a, d), "interval");
	CHECK(!config_needs_restart(a, e));
	CHECK_STR(config_needs_restart(a, f), "session-cgroups");
}

int main(void)
{
	if (!mkdtemp(dir))
		return 99;
	snprintf(path, sizeof(path), "%s/dibs.conf", dir);
	snprintf(drop_ins, sizeof(drop_ins), "%s.d", path);
	TEST(empty_means_defaults);
	TEST(every_setting_is_read);
	TEST(refuses_bad_values);
	TEST(a_key_twice_is_refused);
	TEST(settings_must_agree);
	TEST(socket_path_fits_its_address);
	TEST(long_values_leave_room_for_the_reason);
	TEST(drop_ins_override_in_order);
	TEST(a_bad_drop_in_refuses_all);
	TEST(others_must_not_write);
	if (geteuid() == 0)
		TEST(strangers_must_not_own);
	else
		printf("ok %d - strangers_must_not_own # SKIP only root can give files away\n",
			++tap_count);
	TEST(links_are_judged_by_their_target);
	TEST(only_regular_files);
	TEST(tells_what_needs_a_restart);
	unlink(path);
	rmdir(drop_ins);
	rmdir(dir);
	return tap_done();
}
