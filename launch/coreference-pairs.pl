#!/usr/bin/perl
# Makes sentences in which one adjective decides what "it" is, in the manner of "a dog ate the food because it was
# hungry": launch/coreference-pairs.pl --out FOLDER
#
#   FOLDER gets train, valid and test, each as three files, line by line:
#     .source  the sentence: "a dog ate the bread because it was hungry"
#     .target  the same with "it" resolved; --target says how
#     .index   places of "it" and of the noun it stands for, among the words of the sentence from 0 on: "6 1"
#   An actor and a thing that meet in a held-back sentence never meet in training, so the answer cannot be remembered;
#   and the right noun stands first as often as second, so its place does not tell.
#   Half of the training sentences name a noun where others say "it", any of the two, and have only to be copied. So
#   the decoder cannot know what comes there from the words so far and the adjective: it has to look at that place, and
#   the encoder has to bring the noun there.
#
#   --target word     "it" becomes the noun, word for word: "a dog ate the bread because dog was hungry". Target and
#                     source have the same places, so that rows of attention can be compared
#   --target replace  "it" becomes a phrase: "a dog ate the bread because the dog was hungry"
#   --target noun     only the noun: "dog"
#   --pairs 20000     for training; 1,000 each are held back for valid and test
#   --seed 1          the same seed, the same files
use strict;
use warnings;
use Getopt::Long;
use File::Path qw(make_path);

sub fail { my ($message) = @_; die "coreference-pairs: $message\n"; }

# -- what there is to say ----------------------------------------------------------------------------------------------

my @actors = qw(badger bear beaver bird camel cat cow crow deer dog donkey duck eagle elephant fox frog goat goose
    hamster hedgehog hen horse lion lizard monkey mouse otter owl parrot pig pigeon pony rabbit raccoon rat seal sheep
    snake squirrel tiger toad turtle wolf zebra);
my @things = qw(apple apricot banana bean berry biscuit bread burger cake carrot cheese cherry cookie corn cracker
    cucumber egg food grape lemon lettuce melon muffin mushroom noodle nut onion orange pancake peach pear pie pizza
    plum potato pretzel pumpkin radish sandwich sausage soup steak tomato waffle);
my @verbs = (    # past tense, and participle of the passive
    [qw(ate eaten)], [qw(bit bitten)], [qw(carried carried)], [qw(chewed chewed)], [qw(devoured devoured)],
    [qw(dropped dropped)], [qw(finished finished)], [qw(found found)], [qw(grabbed grabbed)], [qw(hid hidden)],
    [qw(left left)], [qw(licked licked)], [qw(liked liked)], [qw(smelled smelled)], [qw(stole stolen)],
    [qw(swallowed swallowed)], [qw(tasted tasted)], [qw(took taken)], [qw(wanted wanted)], [qw(watched watched)],
);
my @of_actors = qw(angry bored brave clever curious excited greedy hungry impatient jealous lazy lonely nervous proud
    scared sleepy thirsty tired);
my @of_things = qw(baked bitter cheap cooked crunchy delicious fresh frozen juicy raw ripe rotten salty sour spicy
    stale sweet tasty);
my @adverbs = ('', '', 'yesterday', 'today', 'suddenly', 'finally');    # a third of the sentences begin with none
my @frames = (    # A: the actor with its article, T: the thing with its, V: verb, P: participle, D: adjective
    'A V T because it was D',
    'T was P by A because it was D',
    'because it was D A V T',
    'because it was D T was P by A',
    'it was D so A V T',
    'it was D so T was P by A',
);

sub pick { my @choices = @_; return $choices[rand @choices]; }

# A pair of nouns belongs to one part alone; every noun occurs in all parts.
sub part_of {
    my ($actor, $thing) = @_;
    my $place = ($actor + $thing) % 10;
    return $place == 0 ? 'valid' : $place == 5 ? 'test' : 'train';
}

# (part, words of a sentence, the noun that "it" stands for, one of the two nouns)
sub sentence {
    my ($i, $j) = (int rand @actors, int rand @things);
    my ($actor, $thing) = ($actors[$i], $things[$j]);
    my $is_actor = rand() < 0.5;
    my ($verb, $participle) = @{pick(@verbs)};
    my $article = pick('the', $actor =~ /^[aeiou]/ ? 'an' : 'a');
    my %word = (A => "$article $actor", T => "the $thing", V => $verb, P => $participle,
        D => $is_actor ? pick(@of_actors) : pick(@of_things));
    my $text = join ' ', pick(@adverbs), map { $word{$_} // $_ } split / /, pick(@frames);
    return (part_of($i, $j), [split ' ', $text], $is_actor ? $actor : $thing, pick($actor, $thing));
}

sub resolve {
    my ($target, $words, $noun) = @_;
    return $noun if $target eq 'noun';
    my $answer = $target eq 'word' ? $noun : "the $noun";
    return join ' ', map { $_ eq 'it' ? $answer : $_ } @$words;
}

sub place_of {
    my ($word, $words) = @_;
    return (grep { $words->[$_] eq $word } 0 .. $#$words)[0];
}

# -- files -------------------------------------------------------------------------------------------------------------

my ($target, $pairs, $seed, $out) = ('word', 20000, 1, '');
my $usage = "usage: coreference-pairs.pl --out FOLDER [--target word|replace|noun] [--pairs 20000] [--seed 1]\n";
GetOptions('target=s' => \$target, 'pairs=i' => \$pairs, 'seed=i' => \$seed, 'out=s' => \$out)
    && !@ARGV && length $out or die $usage;
$target =~ /^(?:word|replace|noun)$/ or fail("--target is word, replace or noun, not '$target'");
$pairs >= 1 && $pairs <= 1_000_000 or fail("--pairs is 1 to 1000000, not $pairs");

srand $seed;
my %wanted = (train => $pairs, valid => 1000, test => 1000);
my (%lines, %seen);
while (%wanted) {
    my ($part, $words, $noun, $any) = sentence();
    next if !$wanted{$part} || $seen{"@$words"}++;
    my $is_named = $part eq 'train' && $wanted{$part} % 2;
    my $answer = $is_named ? $any : $noun;
    push @{$lines{$part}{source}}, $is_named ? resolve($target eq 'noun' ? 'word' : $target, $words, $answer) : "@$words";
    push @{$lines{$part}{target}}, resolve($target, $words, $answer);
    push @{$lines{$part}{index}}, place_of('it', $words) . ' ' . place_of($noun, $words);
    delete $wanted{$part} if !--$wanted{$part};
}

make_path($out);
for my $part (qw(train valid test)) {
    for my $kind (qw(source target index)) {
        my $path = "$out/$part.$kind";
        open my $file, '>', "$path.tmp" or fail("cannot write $path.tmp: $!");
        print $file "$_\n" for @{$lines{$part}{$kind}};
        close $file or fail("cannot write $path.tmp: $!");
        rename "$path.tmp", $path or fail("cannot write $path: $!");
    }
    printf "%-5s %6d pairs\n", $part, scalar @{$lines{$part}{source}};
}
