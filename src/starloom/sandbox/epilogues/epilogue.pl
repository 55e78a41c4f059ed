# Runs program.pl, then tests.pl; says the token only when the last line of the tests is done. The token is a lexical
# variable of this file. Not covered: the module B, which can look into pads.
use strict;
my $given = do { local $/; <STDIN> };
open(STDIN, '<', '/dev/null');
my $first = $$;
my ($program, $tests) = map { open(my $file, '<:raw', $_) or die; local $/; my $text = <$file>; close $file; unlink $_; $text } ('program.pl', 'tests.pl');
open(my $out, '>&', \*STDOUT) or die;
sub Starloom::Epilogue::run { no strict; package main; eval($_[0]); die $@ if $@ ne '' }
Starloom::Epilogue::run("no strict; package main;\n#line 1 \"program.pl\"\n$program\n;1;");
delete $CORE::GLOBAL::{die};
Starloom::Epilogue::run("no strict; package main;\n#line 1 \"tests.pl\"\n$tests\n;1;");
if ($$ == $first) {
    my $half = int(length($given) / 2);
    STDOUT->flush;
    syswrite($out, "\n" . substr($given, $half) . substr($given, 0, $half) . " -\n");
}
