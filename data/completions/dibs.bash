# SPDX-License-Identifier: MIT
# bash completion for dibs(1)

_dibs_gpus() {
	dibs status --json 2>/dev/null | sed -n 's/^ *"index": \([0-9]*\),$/\1/p'
}

_dibs_leases() {
	dibs list --json 2>/dev/null | sed -n 's/^    "id": \([0-9]*\),$/\1/p'
}

# The options of a verb.
_dibs_options() {
	local common='--socket --color --help --version'
	local request='--gpus --gpu --type --min-memory --wait --no-wait --note'
	local job='--gpus --gpu --type --min-memory --note --time --name --output --error --chdir --env-setup --venv --no-venv
		--env --no-env --after --array --begin --hold --retries --on-limit --grace --signal --nice --mem --exclusive'

	case $1 in
	status) echo "--json --watch $common" ;;
	run) echo "$request --time --visible $common" ;;
	reserve) echo "$request --adopt --force --duration --short --json $common" ;;
	submit) echo "$job --wait-for --json $common" ;;
	logs) echo "--follow --tail $common" ;;
	cancel) echo "--signal $common" ;;
	exec) echo "--visible $common" ;;
	history) echo "--since --user --all --limit --json $common" ;;
	report) echo "--days --since --until --by --csv --json $common" ;;
	release) echo "--gpu --all $common" ;;
	shrink) echo "--gpu $common" ;;
	gpus) echo "--uuid --index --docker --cdi --json $common" ;;
	list) echo "--json --all $common" ;;
	queue | show | wait | doctor | selftest) echo "--json $common" ;;
	"admin drain" | "admin release") echo "--reason $common" ;;
	"admin import") echo "--redis --db --dry-run $common" ;;
	*) echo "$common" ;;
	esac
}

_dibs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local values='--socket|--color|--gpus|-g|--gpu|--type|--min-memory|--wait|--note|--time|-t|--visible|--duration|-d|--reason'
	values+='|--adopt|--name|--output|-o|--error|-e|--chdir|--env-setup|--venv|--env|--after|--array|--begin|--retries'
	values+='|--on-limit|--grace|--signal|--nice|--mem|--tail|-n|--since|--until|--user|--limit|--days|--by|--redis|--db'
	values="@($values)"
	local admin='drain undrain release guard sensor import'
	local verbs='status run reserve submit logs cancel hold resume requeue suspend wait exec extend release shrink give gpus'
	verbs+=' list queue show history report admin doctor selftest'
	local verb='' words=0 i word

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ ($verb == run || ($verb == exec && $words -eq 1)) && ($word == -- || $word != -*) ]] ||
			[[ $verb == submit && ($word == -- || $words -eq 1) ]]; then
			# From here on it is somebody else's command line.
			[[ $word == -- ]] && ((i++))
			if declare -F _comp_command_offset >/dev/null; then
				_comp_command_offset "$i"
			elif declare -F _command_offset >/dev/null; then
				_command_offset "$i"
			elif ((i == COMP_CWORD)); then
				mapfile -t COMPREPLY < <(compgen -c -- "$cur")
			else
				compopt -o default
			fi
			return
		fi
		# shellcheck disable=SC2053 # a pattern
		if [[ $word == $values ]]; then
			((i++))
		elif [[ $word != -* ]]; then
			case $verb in
			'') verb=$word ;;
			admin) verb="admin $word" ;;
			*) ((words++)) ;;
			esac
		fi
	done

	case $prev in
	--color) word='auto always never' ;;
	--visible) word='uuid index' ;;
	--gpu) word=$(_dibs_gpus) ;;
	--wait | --time | -t | --duration | -d | --grace) word='30m 1h 4h 8h 1d' ;;
	--socket | --output | -o | --error | -e)
		compopt -o default
		return
		;;
	--chdir | --venv)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--env) word=$(compgen -e) ;;
	--after) word=$(_dibs_leases) ;;
	--on-limit) word='kill requeue suspend' ;;
	--by) word='user group gpu type kind' ;;
	--user) word=$(compgen -u) ;;
	--signal) word='INT TERM USR1 USR2' ;;
	--begin) word='+1h 20:00 tomorrow' ;;
	--since | --until) word='1d 7d 30d' ;;
	--mem) word='4G 8G 16G 24G' ;;
	--adopt) word=$(pgrep -u "$EUID" 2>/dev/null) ;;
	--gpus | -g | --type | --min-memory | --note | --reason | --name | --env-setup | --array | --retries) return ;;
	--redis) word='localhost:6379' ;;
	--nice | --tail | -n | --limit | --days | --db) return ;;
	*)
		if [[ $cur == -* ]]; then
			word=$(_dibs_options "$verb")
		else
			case $verb in
			'') word=$verbs ;;
			admin) word=$admin ;;
			run)
				mapfile -t COMPREPLY < <(compgen -c -- "$cur")
				return
				;;
			submit)
				compopt -o default
				return
				;;
			release | show | shrink | gpus | logs | cancel | hold | resume | requeue | suspend | wait | exec) word=$(_dibs_leases) ;;
			give) ((words == 0)) && word=$(_dibs_leases) || word=$(compgen -u) ;;
			extend) ((words == 0)) && word=$(_dibs_leases) || word='30m 1h 4h 8h 1d' ;;
			"admin drain" | "admin undrain") word=$(_dibs_gpus) ;;
			"admin guard") word='off watch deny configured' ;;
			"admin sensor") word='pause resume' ;;
			"admin import")
				if ((words == 0)); then
					word='canhazgpu gpulocker'
				else
					word=''
					compopt -o default
				fi
				;;
			*) word='' ;;
			esac
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur")
}

complete -F _dibs dibs
