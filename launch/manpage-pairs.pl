#!/usr/bin/perl
# Makes parallel text out of translated manual pages: launch/manpage-pairs.pl [--language fr] FOLDER OUT
#
#   FOLDER  where packages are unpacked (dpkg-deb -x): FOLDER/usr/share/man/man2/open.2.gz and its translation
#           FOLDER/usr/share/man/fr/man2/open.2.gz
#   OUT     gets train.en train.fr valid.en valid.fr test.en test.fr; line i of train.fr translates line i of train.en
#
#   --language fr   the other language, as its folder is called; fr and de are known to work
#   --hold-back 26  every 26th page goes to valid, and every 26th to test; pages are kept whole
#
# Translated pages are made with po4a, which rewraps paragraphs but keeps the requests of the English page one for one
# and adds a section about the translators. So a page is cut into blocks at its requests, block i is paired with
# block i as long as the requests agree, both are cut into sentences, and sentences are paired where their numbers
# agree and none is out of place; else the paragraph stays whole. Code, tables and synopses are left out. A sentence
# that was seen before, in either language, is dropped, so nothing held back is in train. Runs on perl-base alone.
use strict;
use warnings;
use utf8;
use Getopt::Long;
use File::Path qw(make_path);

use constant {
    LONGEST  => 400,           # characters of a sentence
    SHORTEST => 3,             # words of two letters or more
    BROKEN   => "\x{FFFC}",    # stands in a text where roff did something that cannot be written as plain text
};

# -- roff to plain text ------------------------------------------------------------------------------------------------

my %GLYPH = (    # \(xx and \[xx]
    aq => q('), cq => q('), oq => q('), dq => '"', lq => '"', rq => '"', Fo => '«', Fc => '»', ga => '`', ha => '^',
    em => '—', en => '–', hy => '-', mi => '-', bu => '•', ti => '~', at => '@', rs => '\\', sl => '/', sh => '#',
    co => '©', rg => '®', tm => '™', de => '°', mu => '×', '+-' => '±', '>=' => '≥', '<=' => '≤', '!=' => '≠',
    la => '⟨', ra => '⟩', '->' => '→', '<-' => '←', ba => '|', or => '|', Do => '$', lB => '[', rB => ']',
    lC => '{', rC => '}', '*m' => 'μ', '*p' => 'π', if => '∞', ':A' => 'Ä', ':O' => 'Ö', ':U' => 'Ü', ':a' => 'ä',
    ':o' => 'ö', ':u' => 'ü', ss => 'ß', "'e" => 'é', '`e' => 'è', '^o' => 'ô', 'o/' => 'ø',
);
my %STRING = (    # \*x, \*(xx and \*[xx]: those that man's macros and pod2man define
    Aq => q('), lq => '"', rq => '"', 'L"' => '"', 'R"' => '"', 'C`' => '"', q(C') => '"', R => '®', Tm => '™',
    '--' => '—',
);
my %CHARACTER = (    # \x
    '-' => '-', ' ' => ' ', '~' => ' ', '0' => ' ', 't' => ' ', 'e' => '\\', '\\' => '\\', '.' => '.', q(') => q('),
    '`' => '`', (map { $_ => '' } split //, '&%:^|),'), '/' => '',
);

sub unescape {
    my ($text) = @_;
    my $name = qr/\[([^\]]*)\]|\((..)|(.)/;
    $text =~ s{\\(?:
        f(?:\[[^\]]*\]|\(..|.)                        # fonts
      | s(?:\[[^\]]*\]|[-+]?\(..|[-+]?\d)             # sizes
      | \*$name                                       # $1 $2 $3: strings
      | (?:\[([^\]]*)\]|\((..))                       # $4 $5: glyphs
      | (.)                                           # $6
    )}{
        defined $6 ? $CHARACTER{$6} // BROKEN
      : defined $4 || defined $5 ? $GLYPH{$4 // $5} // BROKEN
      : defined $1 || defined $2 || defined $3 ? $STRING{$1 // $2 // $3} // BROKEN
      : ''
    }gex;
    return $text;
}

# One spelling for what typography spells in several ways, and single blanks.
sub normalise {
    my ($text) = @_;
    $text =~ tr/‘’‚“”„‐‑\x{A0}\x{202F}\x{2009}\t/'''"""\-\-    /;
    $text =~ tr/\x{AD}\x{200B}\x{FEFF}//d;
    $text =~ s/(?<=\w)\\ / /g;    # an escaped blank that was escaped twice
    $text =~ s/ +/ /g;
    $text =~ s/^ | $//g;
    return $text;
}

# -- a page as blocks --------------------------------------------------------------------------------------------------

my %FONT = map { $_ => 1 } qw(B I SM SB BR RB BI IB IR RI);                  # their text is part of the paragraph
my %BREAK = map { $_ => 1 } qw(PP P LP IP TP TQ HP RS RE SH SS TH br sp in ti ad na hy nh ne PD IX Sp EX EE nf fi TS
    TE Vb Ve INDENT UNINDENT);                                               # between paragraphs, and without text
my %TAGGED = map { $_ => 1 } qw(TP TQ);                                      # the next line stands apart
my %HEADING = map { $_ => 1 } qw(SH SS);
my %VERBATIM = (nf => 'fi', EX => 'EE', TS => 'TE', Vb => 'Ve');             # until

sub arguments {
    my ($text) = @_;
    my @arguments;
    push @arguments, defined $1 ? $1 =~ s/""/"/gr : $2 while $text =~ /\G\s*(?:"((?:[^"]|"")*)"?|((?:\\.|\S)+))/g;
    return @arguments;
}

# The lines of a page from .TH on, without comments and definitions of macros, continued lines joined. Pages in mdoc,
# which begin with .Dd, have none.
sub lines_of {
    my ($page) = @_;
    $page =~ s/\r//g;
    $page =~ s/(?<!\\)\\\n//g;
    my (@lines, $in_page, $in_macro);
    for my $line (split /\n/, $page) {
        if ($in_macro) { $in_macro = $line !~ /^\.\s*\.\s*$/; next }
        if ($line =~ /^[.']\s*(?:de|ig|am)1?\b/) { $in_macro = 1; next }
        next if $line =~ /^[.']\s*(?:\\["#]|$)/;
        $line =~ s/(?<!\\)\\["#].*//;
        $in_page ||= $line =~ /^\.\s*TH\b/;
        push @lines, $line if $in_page;
    }
    return @lines;
}

# {request, text, whole}: one for each request that ends a paragraph; `text` is what follows it as plain text.
sub blocks_of {
    my ($page) = @_;
    my @blocks = ({request => '', parts => [], whole => 0});
    my ($until, $tag, $link, $glue);
    my $begin = sub { push @blocks, {request => $_[0], parts => [], whole => $_[1]} };
    my $add = sub {
        my ($text) = @_;
        my $parts = $blocks[-1]{parts};
        my $joins = $text =~ s/\\c\s*$//;
        if ($glue && @$parts) { $parts->[-1] .= $text } else { push @$parts, $text }
        $glue = $joins;
        $begin->('tag', 1) if $tag && !$joins;
        $tag = 0 if !$joins;
    };
    for my $line (lines_of($page)) {
        if ($line !~ /^[.']\s*(\S+)\s*(.*)/) {
            next if defined $until;
            if ($line =~ /^\s*$/) { $begin->('', 1) } else { $add->($line) }
            next;
        }
        my ($request, $rest) = ($1, $2);
        if ($FONT{$request}) {
            next if defined $until;
            my @arguments = arguments($rest);
            $add->(join length $request == 1 || $request =~ /^S/ ? ' ' : '', @arguments) if @arguments;
        } elsif ($request eq 'UR' || $request eq 'MT') {
            next if defined $until;
            $link = {address => join(' ', arguments($rest)), parts => scalar @{$blocks[-1]{parts}}};
        } elsif ($request eq 'UE' || $request eq 'ME') {
            next if defined $until;
            $add->($link->{address}) if $link && $link->{parts} == @{$blocks[-1]{parts}};
            ($link, $glue) = (undef, 1);
            $add->(join '', arguments($rest));
        } else {
            my $known = $BREAK{$request};
            $blocks[-1]{whole} = 0 if !$known;
            $begin->($request, $known && !defined $until);
            ($tag, $glue, $link) = ($TAGGED{$request} || ($HEADING{$request} && !length $rest), 0, undef);
            if (!defined $until) { $until = $VERBATIM{$request} } elsif ($request eq $until) { undef $until }
            if ($HEADING{$request} && length $rest) {
                $add->(join ' ', arguments($rest));
                $begin->('text', 1);
            }
        }
    }
    $_->{text} = normalise(unescape(join ' ', @{$_->{parts}})) for @blocks;
    return @blocks;
}

# -- pairs -------------------------------------------------------------------------------------------------------------

my $ABBREVIATION = qr/(?:^|[ ("«])(?:e\.g|i\.e|etc|cf|vs|viz|resp|nos?|pp?|ex|env|c\.-à-d|Mr?|St|bzw|usw|ca|Nr|vgl|evtl|
    ggf|sog|[a-z]\.[ ]?[a-z]|[A-Z])\.[)"'\]]*$/xi;

# Cuts behind a full stop where `start` begins the next sentence.
sub sentences {
    my ($text, $start) = @_;
    my @sentences;
    for my $piece (split /(?:(?<=[.!?])|(?<=[.!?][)"'\]])|(?<=[.!?] »)) (?=$start)/, $text) {
        if (@sentences && $sentences[-1] =~ $ABBREVIATION) {
            $sentences[-1] .= " $piece";
        } else {
            push @sentences, $piece;
        }
    }
    return @sentences;
}

sub letters { my ($text) = @_; return $text =~ tr/A-Za-zÀ-ÖØ-öø-ÿŒœ //; }
sub words { my ($text) = @_; my $count = () = $text =~ /[A-Za-zÀ-ÖØ-öø-ÿŒœ]{2,}/g; return $count; }

# Whether one can hardly be the translation of the other: by its length, or by the functions and identifiers it names.
sub differ {
    my ($source, $target) = @_;
    my $ratio = length($target) / length $source;
    return 1 if $ratio < 0.5 || $ratio > 2.2;
    my %names;
    my $name = qr/\w+_\w+|\w+(?=\(\d?\))/;
    $names{$_}++ for $source =~ /$name/g;
    $names{$_}-- for $target =~ /$name/g;
    return 2 <= grep { $_ } values %names;
}

# Why a pair is of no use, or nothing if it is.
sub fault {
    my ($source, $target) = @_;
    return 'broken' if "$source$target" =~ /\x{FFFC}|\p{Cc}/;
    return 'too long' if length $source > LONGEST || length $target > LONGEST;
    return 'too short' if words($source) < SHORTEST || words($target) < SHORTEST;
    return 'not translated' if lc $source eq lc $target;
    return 'few letters' if letters($source) < 0.7 * length $source || letters($target) < 0.7 * length $target;
    return 'unlike' if differ($source, $target);
    return '';
}

# The sentences of two paragraphs side by side where their numbers agree and none is out of place, else the paragraphs.
sub align {
    my ($source, $target) = @_;
    for my $start (qr/\S/, qr/[«"(]* ?[A-ZÀ-ÖØ-Þ]/) {
        my @source = sentences($source, $start);
        my @target = sentences($target, $start);
        next if @source != @target;
        my @pairs = map { [$source[$_], $target[$_]] } 0 .. $#source;
        return @pairs if !grep { differ(@$_) } @pairs;
    }
    return [$source, $target];
}

# The text of a page; empty if it is not in UTF-8.
sub read_page {
    my ($path) = @_;
    open my $pipe, '-|', 'gzip', '-dc', '--', $path or fail("cannot run gzip: $!");
    local $/;
    my $page = <$pipe>;
    close $pipe or fail("gzip cannot read $path");
    return utf8::decode($page) ? $page : '';
}

# Whether the requests of both pages agree to the end of the first, and the pairs up to where they do.
sub pairs_of {
    my ($source_page, $target_page) = @_;
    my @source = blocks_of($source_page);
    my @target = blocks_of($target_page);
    my @pairs;
    my $agrees = 1;
    for my $i (0 .. $#source) {
        if ($i > $#target || $source[$i]{request} ne $target[$i]{request}) { $agrees = 0; last }
        push @pairs, align($source[$i]{text}, $target[$i]{text}) if $source[$i]{whole} && $target[$i]{whole};
    }
    return ($agrees, @pairs);
}

# -- files -------------------------------------------------------------------------------------------------------------

sub fail { my ($message) = @_; die "manpage-pairs: $message\n"; }

my ($language, $hold_back) = ('fr', 26);
my $usage = "usage: manpage-pairs.pl [--language fr] [--hold-back 26] FOLDER OUT\n";
GetOptions('language=s' => \$language, 'hold-back=i' => \$hold_back) && @ARGV == 2 && $hold_back >= 2 or die $usage;
$language =~ /^\w+$/ or fail("--language is the name of a folder of man pages, such as fr, not '$language'");
my ($folder, $out) = @ARGV;
my $manual = "$folder/usr/share/man";
-d "$manual/$language" or fail("no folder $manual/$language; unpack manpages-$language there with dpkg-deb -x");

my (%pairs, %pages, %faults, %seen_source, %seen_target);
my ($page, $differing) = (0, 0);
for my $path (sort glob "\Q$manual\E/man[0-9]*/*.gz") {
    my $translated = $path =~ s{^\Q$manual\E}{$manual/$language}r;
    next if -l $translated || !-f $translated;    # links repeat pages
    my ($agrees, @all) = pairs_of(read_page($path), read_page($translated));
    $differing += !$agrees;
    my @good;
    for my $pair (@all) {
        my $fault = fault(@$pair);
        $fault = 'repeated' if !$fault && ($seen_source{lc $pair->[0]}++ || $seen_target{lc $pair->[1]}++);
        if ($fault) { $faults{$fault}++ } else { push @good, $pair }
    }
    next if !@good;
    my $place = $page++ % $hold_back;
    my $part = $place == 0 ? 'valid' : $place == int($hold_back / 2) ? 'test' : 'train';
    push @{$pairs{$part}}, @good;
    $pages{$part}++;
}
%pairs or fail("no page in $manual has a translation in $manual/$language; unpack manpages and manpages-dev there too");

make_path($out);
for my $part (qw(train valid test)) {
    for my $side (0, 1) {
        my $path = "$out/$part." . ('en', $language)[$side];
        open my $file, '>:utf8', "$path.tmp" or fail("cannot write $path.tmp: $!");
        print $file "$_->[$side]\n" for @{$pairs{$part}};
        close $file or fail("cannot write $path.tmp: $!");
        rename "$path.tmp", $path or fail("cannot write $path: $!");
    }
    printf "%-5s %6d pairs of %4d pages\n", $part, scalar @{$pairs{$part} // []}, $pages{$part} // 0;
}
printf "left out: %s; pages whose requests differ: %d\n",
    join(', ', map { "$faults{$_} $_" } sort keys %faults), $differing;
