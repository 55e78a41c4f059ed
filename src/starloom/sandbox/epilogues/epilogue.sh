# Runs program.sh, then tests.sh; says the token only when the last line of the tests is done. A shell has no private
# memory: a program that searches the variables finds the token. What is covered: exit, return, traps, functions named like
# the commands that tests use, children that print.
starloom_run() {
    local -r starloom_first=$BASHPID starloom_given=$1 starloom_tests=$3
    local starloom_half
    eval "$2"
    POSIXLY_CORRECT=1 # special builtins come before functions of their name
    unset -f '[' test exit return trap unset builtin diff eval printf set enable unalias shopt || exit 1 # readonly ones
    enable exit eval printf trap test '[' && unalias -a && shopt -u expand_aliases || exit 1
    unset POSIXLY_CORRECT
    trap - DEBUG ERR RETURN EXIT
    set +T
    eval "$starloom_tests" # not in a condition, where `set -e` of the tests would mean nothing
    [[ $? == 0 && $BASHPID == "$starloom_first" ]] || exit 1
    starloom_half=$((${#starloom_given} / 2))
    builtin printf '\n%s%s -\n' "${starloom_given:starloom_half}" "${starloom_given:0:starloom_half}"
}
IFS= read -r -d '' starloom_given
set -- "$starloom_given" "$(<program.sh)" "$(<tests.sh)"
unset starloom_given
rm -f program.sh tests.sh
exec </dev/null
starloom_run "$@"
