#!/usr/bin/perl
# Makes a toy task that a model must solve without fault: launch/toy-pairs.pl --task copy|reverse --out FOLDER
#
#   FOLDER gets train, valid and test, each as .source and .target, line by line; no sequence occurs twice, so a model
#   that only remembers its training fails on the held-back ones
#
#   --task copy      the target is the source: "w3 w7 w1" -> "w3 w7 w1"
#   --task reverse   the target is the source backwards: "w3 w7 w1" -> "w1 w7 w3"
#   --pairs 20000    for training; 1,000 each are held back for valid and test
#   --longest 10     symbols in a sequence, of reverse 16; lengths from 1 on are equally frequent while sequences
#                    of that length are left
#   --symbols 10     different symbols: w0 to w9
#   --seed 1         the same seed, the same files
use strict;
use warnings;
use Getopt::Long;
use File::Path qw(make_path);

sub fail { my ($message) = @_; die "toy-pairs: $message\n"; }

my %longest = (copy => 10, reverse => 16);
my ($task, $pairs, $longest, $symbols, $seed, $out) = ('', 20000, 0, 10, 1, '');
my $usage = "usage: toy-pairs.pl --task copy|reverse --out FOLDER "
    . "[--pairs 20000] [--longest 10] [--symbols 10] [--seed 1]\n";
GetOptions('task=s' => \$task, 'pairs=i' => \$pairs, 'longest=i' => \$longest, 'symbols=i' => \$symbols,
    'seed=i' => \$seed, 'out=s' => \$out) && !@ARGV && length $out or die $usage;
$longest{$task} or fail("--task is copy or reverse, not '$task'");
$longest ||= $longest{$task};
$pairs >= 1 && $longest >= 1 && $symbols >= 1 or fail('--pairs, --longest and --symbols are at least 1');

# In this order: sequences of one or two symbols are so few that training needs them all.
my @parts = ([train => $pairs], [valid => 1000], [test => 1000]);
my $wanted = $pairs + 2000;
my $possible = 0;
$possible += $symbols**$_ for 1 .. $longest;
# Drawing new sequences takes ever longer when few are left.
$possible >= 2 * $wanted or fail("only $possible sequences of up to $longest of $symbols symbols exist, "
    . "but $wanted are wanted without repetition; fewer --pairs, or more --symbols");

srand $seed;
my (%seen, @sequences);
while (@sequences < $wanted) {
    my $sequence = join ' ', map { 'w' . int rand $symbols } 1 .. 1 + int rand $longest;
    push @sequences, $sequence if !$seen{$sequence}++;
}

make_path($out);
for my $part (@parts) {
    my ($name, $count) = @$part;
    my @sources = splice @sequences, 0, $count;
    my %text = (source => \@sources, target => \@sources);
    $text{target} = [map { join ' ', reverse split / / } @sources] if $task eq 'reverse';
    for my $side (qw(source target)) {
        my $path = "$out/$name.$side";
        open my $file, '>', "$path.tmp" or fail("cannot write $path.tmp: $!");
        print $file "$_\n" for @{$text{$side}};
        close $file or fail("cannot write $path.tmp: $!");
        rename "$path.tmp", $path or fail("cannot write $path: $!");
    }
    printf "%-5s %6d pairs\n", $name, $count;
}
