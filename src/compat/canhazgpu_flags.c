/* SPDX-License-Identifier: MIT */
/*
 * Flags as pflag reads them: --name value, --name=value, -n value, -nvalue, -n=value, clusters of
 * letters; those of "run" end at the first word. Which flag belongs to which command, what a
 * configuration file calls it, its default and its help all stand in one table.
 *
 * A value comes from the command line, else from the environment, else from a file, and is checked
 * in the same way wherever it comes from.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "compat/canhazgpu.h"

#define ID "usage.option"

enum type { TYPE_BOOL, TYPE_TEXT, TYPE_INT, TYPE_IDS, TYPE_DURATION };

/* Why a setting means nothing any more. */
enum unused { USED, UNUSED_REDIS, UNUSED_THRESHOLD, UNUSED_MAX };

static const char *const unused_reasons[UNUSED_MAX] = {
	[UNUSED_REDIS] = "dibsd keeps the reservations",
	[UNUSED_THRESHOLD] = "dibsd sees which process uses which GPU",
};

static const struct flag {
	const char *name;
	char letter; /* 0 = has none */
	enum type type;
	const char *commands; /* names with blanks around them; NULL: of all */
	const char *fallback;
	const char *help;
	const char *key; /* in configuration files; NULL: the command and the name */
	enum unused unused;
	bool no_flag; /* not on the command line */
} flags[CHG_FLAG_MAX] = {
	[CHG_CONFIG] = { "config", 0, TYPE_TEXT, NULL, "", "read this instead of ~/.canhazgpu.yaml",
		"" },
	[CHG_HELP] = { "help", 'h', TYPE_BOOL, NULL, "", "this text", "" },
	[CHG_SHOW_VERSION] = { "version", 'v', TYPE_BOOL, "", "", "which version this is", "" },
	[CHG_REDIS_HOST] = { "redis-host", 0, TYPE_TEXT, NULL, "", "not used any more",
		"redis.host", UNUSED_REDIS },
	[CHG_REDIS_PORT] = { "redis-port", 0, TYPE_INT, NULL, "", "not used any more", "redis.port",
		UNUSED_REDIS },
	[CHG_REDIS_DB] = { "redis-db", 0, TYPE_INT, NULL, "", "not used any more", "redis.db",
		UNUSED_REDIS },
	[CHG_MEMORY_THRESHOLD] = { "memory-threshold", 0, TYPE_INT, NULL, "", "not used any more",
		"memory.threshold", UNUSED_THRESHOLD },
	[CHG_REMOTE_HOSTS] = { "remote_hosts", 0, TYPE_TEXT, NULL, "", "", "remote_hosts",
		.no_flag = true },
	[CHG_GPUS] = { "gpus", 'g', TYPE_INT, " admin run reserve ", "1", "how many GPUs" },
	[CHG_GPU_IDS] = { "gpu-ids", 'G', TYPE_IDS, " run reserve release ", "",
		"just these GPUs, as 1,3,5" },
	[CHG_FORCE] = { "force", 'f', TYPE_BOOL, " admin reserve ", "",
		"also GPUs that are used without a reservation; admin: end all reservations" },
	[CHG_PROVIDER] = { "provider", 'p', TYPE_TEXT, " admin ", "", "nvidia, amd or fake" },
	[CHG_TIMEOUT] = { "timeout", 't', TYPE_DURATION, " run ", "",
		"end the command after so long, as 2h (never)" },
	[CHG_DURATION] = { "duration", 'd', TYPE_DURATION, " reserve ", "30m",
		"how long, as 30m, 2h, 1d or 0.5h" },
	[CHG_NOTE] = { "note", 'n', TYPE_TEXT, " run reserve ", "", "what it is for" },
	[CHG_USER] = { "user", 'u', TYPE_TEXT, " run reserve ", "",
		"who you are, where several share an account" },
	[CHG_NONBLOCK] = { "nonblock", 0, TYPE_BOOL, " run reserve ", "", "now or not at all" },
	[CHG_WAIT] = { "wait", 'w', TYPE_DURATION, " run reserve ", "",
		"wait for so long at most (as long as it takes)" },
	[CHG_SHORT] = { "short", 's', TYPE_BOOL, " reserve ", "", "print the numbers alone" },
	[CHG_JSON] = { "json", 'j', TYPE_BOOL, " status queue report ", "", "for programs" },
	[CHG_ALL] = { "all", 0, TYPE_BOOL, " status ", "", "also the configured remote_hosts" },
	[CHG_REMOTE] = { "remote", 'r', TYPE_TEXT, " status ", "", "of this host, over ssh" },
	[CHG_SUMMARY] = { "summary", 's', TYPE_BOOL, " status ", "", "a line for each host" },
	[CHG_NO_COLOR] = { "no-color", 0, TYPE_BOOL, " status ", "", "without colours" },
	[CHG_FORMAT] = { "format", 0, TYPE_TEXT, " status ", "table",
		"table, or readme: the lines of the first versions" },
	[CHG_DAYS] = { "days", 'd', TYPE_INT, " report ", "30", "the last days" },
	[CHG_PORT] = { "port", 'p', TYPE_INT, " web ", "8080", "not used any more" },
	[CHG_HOST] = { "host", 0, TYPE_TEXT, " web ", "0.0.0.0", "not used any more" },
	[CHG_DEMO] = { "demo", 0, TYPE_BOOL, " web ", "", "not used any more" },
};

static bool has_word(const char *words, const char *name)
{
	size_t n = strlen(name);

	for (const char *s = words; (s = strstr(s, name)); s += n)
		if (s > words && s[-1] == ' ' && s[n] == ' ')
			return true;
	return false;
}

/* Is it a flag of this command (NULL: of canhazgpu itself)? */
static bool takes(const struct chg_command *command, const struct flag *flag)
{
	if (flag->no_flag)
		return false;
	if (!flag->commands)
		return true;
	return command ? has_word(flag->commands, command->name) : !*flag->commands;
}

const char *chg_value(const struct chg *chg, enum chg_flag flag)
{
	return chg->values[flag] ? chg->values[flag] : flags[flag].fallback;
}

bool chg_is(const struct chg *chg, enum chg_flag flag)
{
	return strchr("1tT", *chg_value(chg, flag)) && *chg_value(chg, flag);
}

int64_t chg_int(const struct chg *chg, enum chg_flag flag)
{
	return strtoll(chg_value(chg, flag), NULL, 10);
}

void chg_clear(struct chg *chg)
{
	for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++) {
		free(chg->values[i]);
		chg->values[i] = NULL;
	}
	free(chg->config);
	chg->config = NULL;
}

static int check_value(const struct flag *flag, const char *value, struct error *err)
{
	static const char *const bools[] = { "1", "t", "T", "true", "TRUE", "True", "0", "f", "F",
		"false", "FALSE", "False" };
	int64_t us;

	switch (flag->type) {
	case TYPE_BOOL:
		for (size_t i = 0; i < ELEMENTSOF(bools); i++)
			if (strcmp(bools[i], value) == 0)
				return 0;
		return error_set(err, -EINVAL, ID, "it is true or false");
	case TYPE_INT:
		return chg_is_int(value) ? 0
					 : error_set(err, -EINVAL, ID, "it is not a whole number");
	case TYPE_IDS:
		return chg_check_ids(value, err);
	case TYPE_DURATION:
		return chg_parse_duration(value, &us, err);
	case TYPE_TEXT:
		break;
	}
	return text_is_utf8(value) ? 0 : error_set(err, -EINVAL, ID, "it is not valid UTF-8");
}

/* Lists that are given again grow. */
static int store(struct chg *chg, enum chg_flag flag, enum chg_source source, const char *value,
	struct error *err)
{
	char *old = chg->values[flag], *new;

	if (flags[flag].type == TYPE_IDS && old && *old && *value)
		new = text_format("%s,%s", old, value);
	else
		new = strdup(value);
	if (!new)
		return cli_no_memory(err);
	free(old);
	chg->values[flag] = new;
	chg->sources[flag] = source;
	return flags[flag].type == TYPE_IDS ? check_value(&flags[flag], new, err) : 0;
}

/* One of the command line. */
static int take(struct chg *chg, enum chg_flag flag, const char *value, struct error *err)
{
	const struct flag *f = &flags[flag];
	char letter[5] = "";
	int r = check_value(f, value, err);

	if (r == 0)
		r = store(chg, flag, CHG_LINE, value, err);
	if (r == 0 || f->type == TYPE_DURATION)
		return r;
	if (f->letter)
		snprintf(letter, sizeof(letter), "-%c, ", f->letter);
	return error_prefix(
		err, r, "invalid argument \"%s\" for \"%s--%s\" flag", value, letter, f->name);
}

static bool is_named(const struct flag *flag, const char *name, size_t n)
{
	return strlen(flag->name) == n && strncmp(flag->name, name, n) == 0;
}

/* Returns how many words of argv it took. */
static int parse_long(struct chg *chg, char **argv, struct error *err)
{
	const char *name = argv[0] + 2, *equals = strchr(name, '=');
	size_t n = equals ? (size_t)(equals - name) : strlen(name);

	for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++) {
		const char *value = equals ? equals + 1 : argv[1];
		bool next = !equals && flags[i].type != TYPE_BOOL;
		int r;

		if (!takes(chg->command, &flags[i]) || !is_named(&flags[i], name, n))
			continue;
		if (!equals && flags[i].type == TYPE_BOOL)
			value = "true";
		if (!value)
			return error_set(
				err, -EINVAL, ID, "flag needs an argument: --%s", flags[i].name);
		r = take(chg, i, value, err);
		return r < 0 ? r : 1 + next;
	}
	return error_set(err, -EINVAL, ID, "unknown flag: --%.*s", (int)MIN(n, (size_t)80), name);
}

static int parse_letters(struct chg *chg, char **argv, struct error *err)
{
	for (const char *s = argv[0] + 1; *s; s++) {
		enum chg_flag i = 0;
		int r;

		while (i < CHG_FLAG_MAX &&
			!(takes(chg->command, &flags[i]) && flags[i].letter == *s))
			i++;
		if (i == CHG_FLAG_MAX)
			return error_set(err, -EINVAL, ID, "unknown shorthand flag: '%c' in %s", *s,
				argv[0]);
		if (flags[i].type == TYPE_BOOL && s[1] != '=') {
			r = take(chg, i, "true", err);
			if (r < 0)
				return r;
			continue;
		}
		if (!s[1] && !argv[1])
			return error_set(err, -EINVAL, ID, "flag needs an argument: '%c' in %s", *s,
				argv[0]);
		r = take(chg, i, s[1] ? s + 1 + (s[1] == '=') : argv[1], err);
		return r < 0 ? r : 1 + !s[1];
	}
	return 1;
}

/* "help run" is "run --help". Returns how many words it took. */
static int take_command(struct chg *chg, char **argv, struct error *err)
{
	int taken = 1;

	if (strcmp(argv[0], "help") == 0) {
		chg->values[CHG_HELP] = strdup("true");
		if (!argv[1])
			return 1;
		taken = 2;
	}
	for (const struct chg_command *c = chg_commands; c->name; c++)
		if (strcmp(c->name, argv[taken - 1]) == 0) {
			chg->command = c;
			return taken;
		}
	return error_set(err, -EINVAL, ID,
		"unknown command \"%s\" for \"canhazgpu\"; see 'canhazgpu --help'",
		argv[taken - 1]);
}

int chg_parse(struct chg *chg, int argc, char **argv, struct error *err)
{
	bool only_words = false;

	chg->words = argv + argc;
	for (int i = 1, r; i < argc; i += r) {
		const char *word = argv[i];

		r = 1;
		if (only_words || (chg->command && chg->command->hidden))
			break;
		if (strcmp(word, "--") == 0) {
			only_words = chg->dashes = true;
			chg->words = argv + i + 1;
		} else if (word[0] == '-' && word[1] == '-') {
			r = parse_long(chg, argv + i, err);
		} else if (word[0] == '-' && word[1]) {
			r = parse_letters(chg, argv + i, err);
		} else if (!chg->command) {
			r = take_command(chg, argv + i, err);
		} else if (chg->command->command) {
			only_words = true;
			chg->words = argv + i;
		} else {
			return error_set(err, -EINVAL, ID,
				"unknown argument \"%s\" for \"canhazgpu %s\"", word,
				chg->command->name);
		}
		if (r < 0)
			return r;
	}
	chg->n_words = (int)(argv + argc - chg->words);
	if (chg->n_words > 0 && chg->command && !chg->command->command)
		return error_set(err, -EINVAL, ID, "unknown argument \"%s\" for \"canhazgpu %s\"",
			chg->words[0], chg->command->name);
	return 0;
}

/* Which flag a key of a configuration file is, and of which command (NULL: of all). */
static enum chg_flag find_key(const char *key, const struct chg_command **ret_command)
{
	const char *dot = strchr(key, '.');

	*ret_command = NULL;
	for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++)
		if (flags[i].key && *flags[i].key && strcmp(flags[i].key, key) == 0)
			return i;
	for (const struct chg_command *c = chg_commands; dot && c->name; c++)
		for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++)
			if (!flags[i].key && takes(c, &flags[i]) &&
				strncmp(c->name, key, (size_t)(dot - key)) == 0 &&
				!c->name[dot - key] && strcmp(flags[i].name, dot + 1) == 0) {
				*ret_command = c;
				return i;
			}
	return CHG_FLAG_MAX;
}

int chg_set(struct chg *chg, enum chg_source source, const char *key, const char *value,
	struct error *err)
{
	const struct chg_command *command;
	enum chg_flag flag = find_key(key, &command);
	int r;

	if (flag == CHG_FLAG_MAX)
		return -ENOENT;
	r = check_value(&flags[flag], value, err);
	if (r < 0)
		return error_prefix(err, r, "%s: \"%s\"", key, value);
	if ((command && command != chg->command) || chg->sources[flag] != CHG_UNSET)
		return 0;
	return store(chg, flag, source, value, err);
}

/* "run.gpu-ids" is CANHAZGPU_RUN_GPU_IDS. */
static void environment_name(char *dst, size_t size, const char *key)
{
	snprintf(dst, size, "CANHAZGPU_%s", key);
	for (char *s = dst; *s; s++)
		*s = *s == '.' || *s == '-' ? '_' : (char)toupper((unsigned char)*s);
}

int chg_read_environment(struct chg *chg, struct error *err)
{
	for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++) {
		const struct flag *flag = &flags[i];
		const char *value;
		char name[96], key[80];
		int r;

		if (flag->key ? !*flag->key : !chg->command || !takes(chg->command, flag))
			continue;
		if (flag->key)
			snprintf(key, sizeof(key), "%s", flag->key);
		else
			snprintf(key, sizeof(key), "%s.%s", chg->command->name, flag->name);
		environment_name(name, sizeof(name), key);
		value = getenv(name);
		if (!value || !*value)
			continue;
		r = chg_set(chg, CHG_ENVIRONMENT, key, value, err);
		if (r < 0)
			return error_prefix(err, r, "%s", name);
	}
	return 0;
}

/* How its user called it. */
static void put_name(char *dst, size_t size, const struct chg *chg, enum chg_flag flag)
{
	size_t n = strlen(dst);

	if (n)
		n += (size_t)snprintf(dst + n, size - n, ", ");
	if (chg->sources[flag] == CHG_LINE)
		snprintf(dst + n, size - n, "--%s", flags[flag].name);
	else if (chg->sources[flag] == CHG_FILE)
		snprintf(dst + n, size - n, "%s in %s", flags[flag].key, chg->config);
	else
		environment_name(dst + n, size - n, flags[flag].key);
}

void chg_name_unused(const struct chg *chg)
{
	for (enum unused reason = USED + 1; reason < UNUSED_MAX; reason++) {
		char names[1024] = "";
		unsigned n = 0;

		for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++)
			if (flags[i].unused == reason && chg->sources[i] != CHG_UNSET &&
				strlen(names) < sizeof(names) / 2) {
				put_name(names, sizeof(names), chg, i);
				n++;
			}
		if (n == 0)
			continue;
		text_sanitize(names);
		fprintf(stderr, "canhazgpu: %s %s not used any more: %s\n", names,
			n > 1 ? "are" : "is", unused_reasons[reason]);
	}
}

static void print_flags(const struct chg_command *command, bool common)
{
	static const char *const types[] = { "", "text", "int", "ids", "time" };

	for (enum chg_flag i = 0; i < CHG_FLAG_MAX; i++) {
		const struct flag *flag = &flags[i];
		char letter[5] = "    ", left[64];

		if (!takes(command, flag) || (command && !flag->commands != common))
			continue;
		if (flag->letter)
			snprintf(letter, sizeof(letter), "-%c, ", flag->letter);
		snprintf(left, sizeof(left), "%s--%s %s", letter, flag->name, types[flag->type]);
		printf("  %-28s %s", left, flag->help);
		if (*flag->fallback)
			printf(" (default %s)", flag->fallback);
		putchar('\n');
	}
}

void chg_print_help(const struct chg *chg)
{
	const struct chg_command *command = chg->command;

	if (command) {
		printf("%s\n\n%s%sUsage:\n  canhazgpu %s [flags]%s\n\nFlags:\n", command->summary,
			command->help ? command->help : "", command->help ? "\n\n" : "",
			command->name, command->command ? " -- COMMAND..." : "");
		print_flags(command, false);
		puts("\nGlobal Flags:");
		print_flags(command, true);
		return;
	}
	puts("Reserves GPUs of this machine, as canhazgpu did; dibs keeps the reservations.\n\n"
	     "Usage:\n  canhazgpu [command]\n\nAvailable Commands:");
	for (const struct chg_command *c = chg_commands; c->name; c++)
		if (!c->hidden)
			printf("  %-11s %s\n", c->name, c->summary);
	puts("\nFlags:");
	print_flags(NULL, true);
	puts("\nUse \"canhazgpu [command] --help\" for more information about a command.\n"
	     "See canhazgpu(1) for what differs, and dibs(1) for what else there is.");
}
