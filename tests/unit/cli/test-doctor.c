/* SPDX-License-Identifier: MIT */
/* Each finding, on a machine that consists of the few files that make it. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../tap.h"
#include "base/fd.h"
#include "cli/doctor.h"
#include "dibs-config.h"

static char root_path[] = "/tmp/dibs-test-doctor-XXXXXX";
static struct host host;
static struct finding finding;

/* Parents of a path below the root. */
static void make_parents(const char *path)
{
	char part[256];

	for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(s - path), path);
		CHECK(mkdirat(host.root, part, 0755) == 0 || errno == EEXIST);
	}
}

static void put(const char *path, const char *text)
{
	_cleanup_(closep) int fd = -1;

	make_parents(path);
	fd = openat(host.root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	CHECK(fd >= 0 && write_all(fd, text, strlen(text)) == 0);
}

static void set_mode(const char *path, mode_t mode)
{
	CHECK_INT(fchmodat(host.root, path, mode, 0), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return ftw->level > 0 ? remove(path) : 0;
}

/* An empty machine and no dibsd. */
static void reset(void)
{
	nftw(root_path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	json_decref(host.status);
	host.status = NULL;
	host.silent = "gone";
	host.socket = "/nonexistent/socket";
	host.owner = getuid();
}

static void set_status(const char *mode, const char *method, const char *problem)
{
	json_decref(host.status);
	host.status = json_pack("{ss ss ss? ss? s[{si ss s[s]}]}", "version", DIBS_VERSION, "guard",
		mode, "guard_method", method, "guard_problem", problem, "gpus", "index", 0, "state",
		"free", "nodes", "195:7");
	CHECK(host.status);
}

/* Runs one check; CHECKs its health and a part of what it says. */
static void look(const struct check *checks, const char *name, enum health health, const char *what)
{
	memset(&finding, 0, sizeof(finding));
	while (checks->name && strcmp(checks->name, name) != 0)
		checks++;
	CHECK(checks->name);
	if (!checks->name)
		return;
	checks->look(&host, &finding);
	CHECK_INT(finding.health, health);
	if (!strstr(finding.what, what))
		CHECK_STR(finding.what, what);
	/* Whoever is told of something is told why, and what to do. */
	CHECK_INT(*finding.why && *finding.fix, health == HEALTH_NOTE || health == HEALTH_PROBLEM);
}

static void daemon_itself(void)
{
	reset();
	look(daemon_checks, "daemon", HEALTH_PROBLEM, "does not answer: gone");
	CHECK_STR(finding.fix, "dibsd &");
	put("run/systemd/system/x", "");
	look(daemon_checks, "daemon", HEALTH_PROBLEM, "does not answer");
	CHECK(strstr(finding.fix, "systemctl restart dibsd"));
	set_status("off", NULL, NULL);
	look(daemon_checks, "daemon", HEALTH_OK, "answers");
	json_object_set_new(host.status, "version", json_string("0.0.9"));
	look(daemon_checks, "daemon", HEALTH_PROBLEM, "version 0.0.9");
}

static void gpus(void)
{
	json_t *gpu;

	reset();
	look(daemon_checks, "gpus", HEALTH_SKIPPED, "no dibsd");
	set_status("off", NULL, NULL);
	look(daemon_checks, "gpus", HEALTH_OK, "sees 1 GPU");
	gpu = json_array_get(json_object_get(host.status, "gpus"), 0);
	json_object_set_new(gpu, "reason", json_string("XID 79"));
	json_object_set_new(gpu, "state", json_string("draining"));
	look(daemon_checks, "gpus", HEALTH_NOTE, "1 of 1 GPUs draining: XID 79");
	CHECK(strstr(finding.fix, "dibs admin undrain 0"));
	json_object_set_new(gpu, "state", json_string("lost"));
	look(daemon_checks, "gpus", HEALTH_PROBLEM, "1 of 1 GPUs lost: XID 79");
	json_array_clear(json_object_get(host.status, "gpus"));
	look(daemon_checks, "gpus", HEALTH_PROBLEM, "0 GPUs");
}

static void guard(void)
{
	reset();
	look(daemon_checks, "guard", HEALTH_SKIPPED, "no dibsd");
	set_status("off", NULL, NULL);
	look(daemon_checks, "guard", HEALTH_OK, "keeps nobody off");
	set_status("deny", "filter", NULL);
	look(daemon_checks, "guard", HEALTH_OK, "a device filter");
	set_status("deny", "acl", NULL);
	look(daemon_checks, "guard", HEALTH_OK, "ACLs");
	set_status("deny", "acl", "a mask is gone");
	look(daemon_checks, "guard", HEALTH_PROBLEM, "guard deny: a mask is gone");
}

static void configuration(void)
{
	reset();
	look(host_checks, "configuration", HEALTH_OK, "defaults apply");
	put("etc/dibs/dibs.conf", "");
	look(host_checks, "configuration", HEALTH_OK, "belongs to root");
	set_mode("etc/dibs/dibs.conf", 0664);
	look(host_checks, "configuration", HEALTH_PROBLEM, "mode 0664");
	CHECK_STR(finding.fix, "chmod 0644 /etc/dibs/dibs.conf");
	set_mode("etc/dibs/dibs.conf", 0644);
	host.owner = getuid() + 1;
	look(host_checks, "configuration", HEALTH_PROBLEM, "not to root");
	CHECK_STR(finding.fix, "chown root:root /etc/dibs/dibs.conf");
}

static void database(void)
{
	reset();
	look(host_checks, "state", HEALTH_NOTE, "no /var/lib/dibs");
	look(host_checks, "database", HEALTH_SKIPPED, "no database");
	put("var/lib/dibs/dibs.db", "x");
	look(host_checks, "state", HEALTH_OK, "belongs to root");
	look(host_checks, "database", HEALTH_NOTE, "mode 0644");
	CHECK_STR(finding.fix, "chmod 0600 /var/lib/dibs/dibs.db");
	set_mode("var/lib/dibs/dibs.db", 0622);
	look(host_checks, "database", HEALTH_PROBLEM, "mode 0622");
	CHECK_INT(unlinkat(host.root, "var/lib/dibs/dibs.db", 0), 0);
	put("var/lib/dibs/dibs.db/x", "");
	look(host_checks, "database", HEALTH_PROBLEM, "is no file");
}

/* How much room there is depends on the machine of the test. */
static void space(void)
{
	reset();
	put("var/lib/dibs/dibs.db", "x");
	set_mode("var/lib/dibs/dibs.db", 0600);
	memset(&finding, 0, sizeof(finding));
	for (const struct check *check = host_checks; check->name; check++)
		if (strcmp(check->name, "database") == 0)
			check->look(&host, &finding);
	CHECK(strstr(finding.what, " MiB free on its disk"));
	CHECK(finding.health != HEALTH_SKIPPED);
}

static void cgroups(void)
{
	reset();
	look(host_checks, "cgroup", HEALTH_NOTE, "not mounted");
	put("proc/self/mounts", "cgroup /sys/fs/cgroup cgroup rw 0 0\n"
				"cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
	put("sys/fs/cgroup/unified/x", "");
	look(host_checks, "cgroup", HEALTH_OK, "cgroup v2 at /sys/fs/cgroup/unified");
}

static void hidden_processes(void)
{
	reset();
	look(host_checks, "proc", HEALTH_SKIPPED, "cannot read");
	put("proc/self/mounts", "proc /proc proc rw,hidepid=0 0 0\n");
	look(host_checks, "proc", HEALTH_OK, "all processes");
	put("proc/self/mounts", "proc /proc proc rw,hidepid=invisible 0 0\n");
	look(host_checks, "proc", HEALTH_NOTE, "hidepid");
}

#define UNIT "usr/lib/systemd/system/dibsd.service"

static void unit(void)
{
	reset();
	look(unit_checks, "unit", HEALTH_SKIPPED, "no systemd");
	put("run/systemd/system/x", "");
	look(unit_checks, "unit", HEALTH_PROBLEM, "not installed");
	put(UNIT, "[Service]\nDelegate=yes\n");
	look(unit_checks, "unit", HEALTH_PROBLEM, "not enabled");
	CHECK_STR(finding.fix, "systemctl enable --now dibsd");
	make_parents("etc/systemd/system/multi-user.target.wants/x");
	CHECK_INT(symlinkat("/nowhere", host.root,
			  "etc/systemd/system/multi-user.target.wants/dibsd.service"),
		0);
	look(unit_checks, "unit", HEALTH_OK, "enabled");
}

static void old_unit(void)
{
	reset();
	look(unit_checks, "unit-settings", HEALTH_SKIPPED, "no unit");
	put("run/systemd/system/x", "");
	put(UNIT, "[Service]\n# Delegate=yes\n");
	look(unit_checks, "unit-settings", HEALTH_PROBLEM, "no Delegate=yes");
	put(UNIT, "[Service]\nDelegate=yes\nCapabilityBoundingSet=CAP_KILL\n");
	look(unit_checks, "unit-settings", HEALTH_NOTE, "no device filter");
	put(UNIT, "[Service]\nDelegate=yes\nCapabilityBoundingSet=CAP_KILL CAP_BPF\n");
	look(unit_checks, "unit-settings", HEALTH_OK, "leave users their devices");
	/* One of /etc hides it. */
	put("etc/systemd/system/dibsd.service", "[Service]\n");
	look(unit_checks, "unit-settings", HEALTH_PROBLEM, "/etc/systemd/system/dibsd.service");
}

static void drop_ins(void)
{
	static const char *const bad[] = { "DevicePolicy=closed", "DeviceAllow=/dev/null rw",
		"PrivateDevices=yes", "ProtectClock=true" };
	static const char *const good[] = { "DevicePolicy=auto", "PrivateDevices=no",
		"#DevicePolicy=closed", "DeviceAllow=x\nDeviceAllow=" };
	char text[128];

	reset();
	put("run/systemd/system/x", "");
	put(UNIT, "[Service]\nDelegate=yes\n");
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		snprintf(text, sizeof(text), "[Service]\n%s\n", bad[i]);
		put("etc/systemd/system/dibsd.service.d/site.conf", text);
		look(unit_checks, "unit-settings", HEALTH_PROBLEM,
			"dibsd.service.d/site.conf sets");
		CHECK(strstr(finding.fix, "/etc/systemd/system/dibsd.service.d/site.conf"));
		snprintf(text, sizeof(text), "[Service]\n%s\n", good[i]);
		put("etc/systemd/system/dibsd.service.d/site.conf", text);
		look(unit_checks, "unit-settings", HEALTH_OK, "leave users");
	}
}

/* A setting is looked up where dibsd would find it. */
static void settings(void)
{
	char value[16];

	reset();
	CHECK_INT(host_setting(&host, "jobs", "cpu-max", "0", value, sizeof(value)), 0);
	CHECK_STR(value, "0");
	put("etc/dibs/dibs.conf", "[lease]\ncpu-max = 1\n[ jobs ]\n#cpu-max = 2\n"
				  "xcpu-max = 3\n cpu-max=400 \r\n[share]\ncpu-max = 5");
	host_setting(&host, "jobs", "cpu-max", "0", value, sizeof(value));
	CHECK_STR(value, "400");
	put("etc/dibs/dibs.conf.d/20.conf", "[jobs]\ncpu-max = 20\n");
	put("etc/dibs/dibs.conf.d/10.conf", "[jobs]\ncpu-max = 10\n");
	put("etc/dibs/dibs.conf.d/30.conf", "[jobs]\nmemory-max = 30M\n");
	put("etc/dibs/dibs.conf.d/40.conf.old", "[jobs]\ncpu-max = 40\n");
	host_setting(&host, "jobs", "cpu-max", "0", value, sizeof(value));
	CHECK_STR(value, "20");
	put("etc/dibs/dibs.conf.d/50.conf/x", "");
	CHECK_INT(host_setting(&host, "jobs", "cpu-max", "0", value, sizeof(value)), 0);
	CHECK_STR(value, "20");
}

#define EXEC &DIBS_LIBEXECDIR "/dibs-exec"[1]

static void supervisor(void)
{
	reset();
	look(jobs_checks, "dibs-exec", HEALTH_PROBLEM, "cannot find");
	CHECK_STR(finding.fix, "meson install");
	put(EXEC, "");
	look(jobs_checks, "dibs-exec", HEALTH_PROBLEM, "is no program (mode 0644)");
	CHECK_STR(finding.fix, "chmod 0755 " DIBS_LIBEXECDIR "/dibs-exec");
	set_mode(EXEC, 0755);
	look(jobs_checks, "dibs-exec", HEALTH_OK, "supervises jobs");
}

#define UNITS    "usr/lib/systemd/system/"
#define LISTENS  "0: 00000002 00000000 00010000 0005 01 17 "
#define CONNECTS "0: 00000003 00000000 00000000 0005 03 18 "

static void supervisor_socket(void)
{
	static const char check[] = "dibs-exec-socket";

	reset();
	look(jobs_checks, check, HEALTH_SKIPPED, "not started by systemd");
	put("run/systemd/system/x", "");
	look(jobs_checks, check, HEALTH_SKIPPED, "not started by systemd");
	put(UNITS "dibsd.service", "");
	look(jobs_checks, check, HEALTH_PROBLEM, "not installed");
	put(UNITS "dibs-exec.socket", "");
	put("proc/net/unix", CONNECTS "/run/dibs/exec\n" LISTENS "/run/dibs/socket\n");
	look(jobs_checks, check, HEALTH_PROBLEM, "does not listen at /run/dibs/exec");
	CHECK_STR(finding.fix, "systemctl enable --now dibs-exec.socket");
	put("proc/net/unix", LISTENS "\n" LISTENS "/run/dibs/exec\n");
	look(jobs_checks, check, HEALTH_PROBLEM, "not enabled");
	CHECK_STR(finding.fix, "systemctl enable dibs-exec.socket");
	put("etc/systemd/system/sockets.target.wants/dibs-exec.socket", "");
	look(jobs_checks, check, HEALTH_OK, "listens at /run/dibs/exec");
	CHECK_INT(
		unlinkat(host.root, "etc/systemd/system/sockets.target.wants/dibs-exec.socket", 0),
		0);
	put(UNITS "dibsd.service", "[Unit]\n#Wants=dibs-exec.socket\n");
	look(jobs_checks, check, HEALTH_PROBLEM, "not enabled");
	put(UNITS "dibsd.service", "[Unit]\nWants=dibs-exec.socket\n");
	look(jobs_checks, check, HEALTH_OK, "listens at /run/dibs/exec");
	/* It has to be where dibsd looks for it. */
	put("etc/dibs/dibs.conf", "[daemon]\nsocket = /run/gpus/socket\n");
	look(jobs_checks, check, HEALTH_PROBLEM, "does not listen at /run/gpus/exec");
	CHECK(strstr(finding.fix, "'[Socket]\\nListenSequentialPacket=%s\\n' '' /run/gpus/exec >"));
}

static void pam(void)
{
	reset();
	look(jobs_checks, "pam", HEALTH_PROBLEM, "no /etc/pam.d/dibs");
	CHECK(strstr(finding.why, "refuses all jobs"));
	put("etc/pam.d/other", "# pam_deny.so is safer\n@include common-account\n");
	look(jobs_checks, "pam", HEALTH_NOTE, "no /etc/pam.d/dibs");
	put("etc/pam.d/other", "account required pam_deny.so\n");
	look(jobs_checks, "pam", HEALTH_PROBLEM, "no /etc/pam.d/dibs");
	put("etc/pam.d/dibs", "");
	look(jobs_checks, "pam", HEALTH_OK, "belongs to root");
	set_mode("etc/pam.d/dibs", 0666);
	look(jobs_checks, "pam", HEALTH_PROBLEM, "mode 0666");
	put("etc/dibs/dibs.conf", "[jobs]\npam-service = gpu\n");
	look(jobs_checks, "pam", HEALTH_PROBLEM, "no /etc/pam.d/gpu");
	CHECK(strstr(finding.fix, "data/dibs.pam /etc/pam.d/gpu"));
	put("etc/dibs/dibs.conf", "[jobs]\npam-service = none\n");
	look(jobs_checks, "pam", HEALTH_OK, "no PAM session");
}

static void job_limits(void)
{
	reset();
	look(jobs_checks, "job-limits", HEALTH_OK, "no limits");
	put("etc/dibs/dibs.conf", "[jobs]\nmemory-max = 64G\nprocesses-max = 0\ncpu-max = 50\n");
	look(jobs_checks, "job-limits", HEALTH_PROBLEM, "memory-max needs controller 'memory'");
	put("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
	put("sys/fs/cgroup/cgroup.controllers", "cpuset hugetlb memory\n");
	look(jobs_checks, "job-limits", HEALTH_PROBLEM, "cpu-max needs controller 'cpu'");
	put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory\n");
	look(jobs_checks, "job-limits", HEALTH_OK, "can limit");
	put("etc/dibs/dibs.conf", "[jobs]\nprocesses-max = 500\n");
	look(jobs_checks, "job-limits", HEALTH_PROBLEM, "processes-max needs controller 'pids'");
	CHECK(strstr(finding.why, "RLIMIT_NPROC"));
}

#define DRIVER(version)                                                                         \
	"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  " version "  Release Build\n" \
	"GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"

static void checkpoint(void)
{
	reset();
	look(jobs_checks, "checkpoint", HEALTH_SKIPPED, "no [jobs] checkpoint");
	put("etc/dibs/dibs.conf", "[jobs]\ncheckpoint = /opt/cuda-checkpoint\n");
	look(jobs_checks, "checkpoint", HEALTH_PROBLEM, "cannot find /opt/cuda-checkpoint");
	CHECK_STR(finding.fix, "install -m 0755 cuda-checkpoint /opt/cuda-checkpoint");
	put("opt/cuda-checkpoint", "");
	look(jobs_checks, "checkpoint", HEALTH_PROBLEM, "is no program");
	set_mode("opt/cuda-checkpoint", 0775);
	look(jobs_checks, "checkpoint", HEALTH_PROBLEM, "mode 0775");
	set_mode("opt/cuda-checkpoint", 0755);
	look(jobs_checks, "checkpoint", HEALTH_SKIPPED, "no NVIDIA driver");
	put("proc/driver/nvidia/version", DRIVER("565.57.01"));
	look(jobs_checks, "checkpoint", HEALTH_PROBLEM, "driver 565 is too old");
	put("proc/driver/nvidia/version", DRIVER("570.86.15"));
	look(jobs_checks, "checkpoint", HEALTH_NOTE, "nvidia-persistenced does not run");
	put("run/nvidia-persistenced/socket", "");
	look(jobs_checks, "checkpoint", HEALTH_OK, "with driver 570");
}

static void nvidia(void)
{
	reset();
	look(gpu_checks, "nvidia", HEALTH_SKIPPED, "no NVIDIA GPU");
	put("sys/bus/pci/devices/0000:3b:00.0/vendor", "0x10de\n");
	put("sys/bus/pci/devices/0000:3b:00.0/class", "0x030200\n");
	put("sys/bus/pci/devices/0000:3b:00.1/vendor", "0x10de\n");
	put("sys/bus/pci/devices/0000:3b:00.1/class", "0x040300\n");
	look(gpu_checks, "nvidia", HEALTH_PROBLEM, "1 NVIDIA GPU, but no driver");
	put("proc/driver/nvidia/version", "x");
	look(gpu_checks, "nvidia", HEALTH_PROBLEM, "but 0 of /dev/nvidia*");
	put("dev/nvidia0", "");
	look(gpu_checks, "nvidia", HEALTH_PROBLEM, "no /dev/nvidia-uvm");
	put("dev/nvidiactl", "");
	put("dev/nvidia-uvm", "");
	look(gpu_checks, "nvidia", HEALTH_OK, "1 of /dev/nvidia*");
}

static void nodes(void)
{
	reset();
	look(gpu_checks, "nodes", HEALTH_SKIPPED, "names no device node");
	set_status("off", NULL, NULL);
	look(gpu_checks, "nodes", HEALTH_PROBLEM, "no /dev/nvidia7");
	CHECK_STR(finding.fix, "rm -f /dev/nvidia7; nvidia-modprobe -c 7");
	put("dev/nvidia7", "");
	look(gpu_checks, "nodes", HEALTH_PROBLEM, "is not character device 195:7");
}

/* Only root can make nodes; elsewhere there is nothing to check. */
static void modes_of_nodes(void)
{
	reset();
	make_parents("dev/x");
	if (mknodat(host.root, "dev/nvidia7", S_IFCHR | 0600, makedev(195, 7)) < 0)
		return;
	set_mode("dev/nvidia7", 0666);
	set_status("deny", "filter", NULL);
	look(gpu_checks, "nodes", HEALTH_OK, "1 device node of GPUs");
	set_status("deny", "acl", NULL);
	look(gpu_checks, "nodes", HEALTH_PROBLEM, "open to everybody (mode 0666)");
	set_mode("dev/nvidia7", 0660);
	look(gpu_checks, "nodes", HEALTH_OK, "1 device node of GPUs");
	set_status("off", NULL, NULL);
	look(gpu_checks, "nodes", HEALTH_NOTE, "its group alone (mode 0660");
	CHECK_INT(unlinkat(host.root, "dev/nvidia7", 0), 0);
	CHECK_INT(mknodat(host.root, "dev/nvidia7", S_IFCHR | 0600, makedev(195, 1)), 0);
	look(gpu_checks, "nodes", HEALTH_PROBLEM, "is not character device 195:7");
}

#define PARAMS  "proc/driver/nvidia/params"
#define DEFAULT "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n"
#define GOOD    "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 432\n"

static void modprobe(void)
{
	reset();
	look(gpu_checks, "nvidia-modprobe", HEALTH_SKIPPED, "no NVIDIA driver");
	put("proc/driver/nvidia/version", "x");
	look(gpu_checks, "nvidia-modprobe", HEALTH_NOTE, "not installed");
	put("usr/bin/nvidia-modprobe", "");
	look(gpu_checks, "nvidia-modprobe", HEALTH_NOTE, "not setuid");
	put("run/nvidia-persistenced/nvidia-persistenced.pid", "1");
	look(gpu_checks, "nvidia-modprobe", HEALTH_OK, "not setuid");
	set_mode("usr/bin/nvidia-modprobe", 04755);
	look(gpu_checks, "nvidia-modprobe", HEALTH_OK, "do not matter to a device filter");
	put(PARAMS, DEFAULT);
	set_status("deny", "acl", NULL);
	look(gpu_checks, "nvidia-modprobe", HEALTH_NOTE, "is setuid");
	put(PARAMS, GOOD);
	look(gpu_checks, "nvidia-modprobe", HEALTH_OK, "leave ACLs alone");
}

static void persistence(void)
{
	reset();
	look(gpu_checks, "persistence", HEALTH_SKIPPED, "no NVIDIA driver");
	put("proc/driver/nvidia/version", "x");
	look(gpu_checks, "persistence", HEALTH_NOTE, "does not run");
	put("run/nvidia-persistenced/nvidia-persistenced.pid", "1");
	look(gpu_checks, "persistence", HEALTH_OK, "runs");
}

static void nvreg(void)
{
	reset();
	look(guard_checks, "nvreg", HEALTH_SKIPPED, "no NVIDIA driver");
	put(PARAMS, DEFAULT);
	set_status("deny", "filter", NULL);
	look(guard_checks, "nvreg", HEALTH_OK, "none is in use");
	set_status("deny", "acl", NULL);
	look(guard_checks, "nvreg", HEALTH_PROBLEM, "nvidia-modprobe opens");
	CHECK(strstr(finding.fix, "NVreg_DeviceFileMode=0660"));
	CHECK(strstr(finding.fix, "/etc/modprobe.d/"));
	put(PARAMS, GOOD);
	look(guard_checks, "nvreg", HEALTH_OK, "leave ACLs alone (mode 0660)");
}

static void bpf(void)
{
	reset();
	look(guard_checks, "bpf", HEALTH_NOTE, "no BPF");
	put("proc/filesystems", "nodev\tproc\nnodev\tbpf\n");
	put("proc/sys/kernel/osrelease", "6.0.19-generic\n");
	look(guard_checks, "bpf", HEALTH_NOTE, "older than 6.1");
	put("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n");
	look(guard_checks, "bpf", HEALTH_NOTE, "no BPF file system");
	CHECK_STR(finding.fix, "mount -t bpf bpf /sys/fs/bpf");
	put("proc/self/mounts", "bpf /elsewhere bpf rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n");
	look(guard_checks, "bpf", HEALTH_OK, "can be used");
}

static void filter(void)
{
	reset();
	look(guard_checks, "filter", HEALTH_OK, "no device filter");
	set_status("deny", "filter", NULL);
	look(guard_checks, "filter", HEALTH_PROBLEM, "no device filter is pinned");
	put("sys/fs/bpf/dibs-7/map", "");
	look(guard_checks, "filter", HEALTH_OK, "is pinned at /sys/fs/bpf/dibs-*");
	put("sys/fs/bpf/dibs/map", "");
	look(guard_checks, "filter", HEALTH_OK, "is pinned");
	set_status("off", NULL, NULL);
	look(guard_checks, "filter", HEALTH_NOTE, "not in use");
	CHECK_STR(finding.fix, "dibs admin guard off");
}

static void docker(void)
{
	reset();
	look(guard_checks, "docker", HEALTH_SKIPPED, "cannot read");
	put("etc/group", "docker-x:x:7:eve\n\nbad\ndocker:x:998:\n");
	look(guard_checks, "docker", HEALTH_OK, "nobody");
	put("etc/passwd", "eve:x:1000:1000::/:/bin/sh\nbob:x:1001:998::/:/bin/sh\nshort:x\n");
	look(guard_checks, "docker", HEALTH_NOTE, "to be root: bob");
	put("etc/group", "docker:x:998:alice,bob,bo\n");
	look(guard_checks, "docker", HEALTH_NOTE, "to be root: alice, bob, bo");
	CHECK(!strstr(finding.what, "bob, bob"));
	CHECK(strstr(finding.fix, "gpasswd -d alice docker "));
	put("etc/group", "docker:x:998:\033[2J\n");
	look(guard_checks, "docker", HEALTH_NOTE, "?[2J");
}

int main(void)
{
	CHECK(mkdtemp(root_path));
	host.root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK(host.root >= 0);
	TEST(daemon_itself);
	TEST(gpus);
	TEST(guard);
	TEST(configuration);
	TEST(database);
	TEST(space);
	TEST(cgroups);
	TEST(hidden_processes);
	TEST(unit);
	TEST(old_unit);
	TEST(drop_ins);
	TEST(settings);
	TEST(supervisor);
	TEST(supervisor_socket);
	TEST(pam);
	TEST(job_limits);
	TEST(checkpoint);
	TEST(nvidia);
	TEST(nodes);
	TEST(modes_of_nodes);
	TEST(modprobe);
	TEST(persistence);
	TEST(nvreg);
	TEST(bpf);
	TEST(filter);
	TEST(docker);
	reset();
	CHECK_INT(rmdir(root_path), 0);
	close(host.root);
	return tap_done();
}
