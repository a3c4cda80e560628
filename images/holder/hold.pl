#!/usr/bin/perl
# PID 1 of a holder. It takes lines on stdin, and says lines on stdout:
#
#   load BASE64    take this nftables file, in one transaction   -> `ok`, or `refused: ` and why
#   check BASE64   whether the kernel would take it              -> the same
#   sync N         after all that was refused before             -> `at N`, and what was said is forgotten
#
# and by itself, once for each until the next sync, what the rules refused and logged to group 1:
#
#   packet WHY PROTOCOL ADDRESS PORT      (PORT is - where the protocol has none)
#
# The end of stdin, which comes when the service is gone, ends the holder.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR ENOBUFS);
use Fcntl;
use IPC::Open3;
use Socket qw(:DEFAULT inet_ntop AF_INET6);

use constant { AF_NETLINK => 16, NETLINK_NETFILTER => 12, NLM_F_REQUEST => 1, MSG_DONTWAIT => 0x40 };
use constant { ULOG_PACKET => 0x0400, ULOG_CONFIG => 0x0401, GROUP => 1 };
use constant { CFG_CMD => 1, CFG_MODE => 2, CFG_QTHRESH => 5, PAYLOAD => 9, PREFIX => 10 };
use constant SAID_MAX => 256;    # so many different ones between two syncs; whoever scans ports makes more

my %protocols = (1 => 'icmp', 6 => 'tcp', 17 => 'udp', 58 => 'icmpv6');
my %said;

$SIG{$_} = sub { exit 0 } for qw(TERM INT HUP);
$| = 1;
my $packets = listening();
my $input = '';
while (1) {
    my $ready = '';
    vec($ready, fileno(STDIN), 1) = 1;
    vec($ready, fileno($packets), 1) = 1 if $packets;
    next if select($ready, undef, undef, undef) < 1;
    tell_packets() if $packets && vec($ready, fileno($packets), 1);
    next unless vec($ready, fileno(STDIN), 1);
    my $got = sysread(STDIN, $input, 1 << 16, length $input);
    exit 0 if defined $got ? !$got : $! != EINTR;
    obey($1, $2) while $input =~ s/^(\w+) ([^\n]*)\n//;
}

sub obey {
    my ($verb, $what) = @_;
    if    ($verb eq 'load')  { print nft($what), "\n" }
    elsif ($verb eq 'check') { print nft($what, '--check'), "\n" }
    elsif ($verb eq 'sync')  { tell_packets(); %said = (); print "at $what\n" }
}

sub nft {
    my ($encoded, @options) = @_;
    my $pid = open3(my $to, my $from, undef, 'nft', @options, '-f', '-');
    print $to unbase64($encoded);
    close $to;
    my $why = join ' ', <$from>;
    waitpid $pid, 0;
    return 'ok' unless $?;
    $why =~ s/\s+/ /g;
    return 'refused: ' . ($why || 'nft gave no reason');
}

sub unbase64 {    # Debian's smallest perl has no module for it
    my ($text) = @_;
    $text =~ tr{A-Za-z0-9+/}{}cd;
    $text =~ tr{A-Za-z0-9+/}{ -_};
    my $bytes = '';
    $bytes .= unpack('u', chr(32 + int(length($1) * 3 / 4)) . $1) while $text =~ /(.{1,60})/gs;
    return $bytes;
}

# A socket that hears what is logged to the group; none where the kernel does not do that.
sub listening {
    socket(my $socket, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) or return;
    bind($socket, pack('S x2 L L', AF_NETLINK, 0, 0)) or return;
    for my $setting (attribute(CFG_CMD, pack('C', 1)), attribute(CFG_MODE, pack('N C x', 64, 2)),
                     attribute(CFG_QTHRESH, pack('N', 1))) {
        my $body = pack('C C n', AF_UNSPEC, 0, GROUP) . $setting;
        my $head = pack('L S S L L', 16 + length $body, ULOG_CONFIG, NLM_F_REQUEST, 1, 0);
        send($socket, $head . $body, 0) or return;
    }
    return $socket;
}

sub attribute {
    my ($type, $value) = @_;
    return pack('S S', 4 + length $value, $type) . $value . "\0" x (-length($value) % 4);
}

sub tell_packets {
    return unless $packets;
    while (1) {
        my $data = '';
        if (!defined recv($packets, $data, 1 << 16, MSG_DONTWAIT)) {
            return if $! == EAGAIN;
            next if $! == ENOBUFS || $! == EINTR;    # more came than fits: the rest is told
            return;
        }
        while (length $data >= 16) {
            my ($size, $type) = unpack('L S', $data);
            last if $size < 16 || $size > length $data;
            tell_packet(substr $data, 20, $size - 20) if $type == ULOG_PACKET && $size > 20;
            $data = substr $data, min(($size + 3) & ~3, length $data);
        }
    }
}

sub tell_packet {
    my ($rest) = @_;
    my %found;
    while (length $rest >= 4) {
        my ($size, $type) = unpack('S S', $rest);
        last if $size < 4 || $size > length $rest;
        $found{$type & 0x3fff} = substr $rest, 4, $size - 4;
        $rest = substr $rest, min(($size + 3) & ~3, length $rest);
    }
    my $line = destination($found{+PAYLOAD} // '') // return;
    my $why = unpack('Z*', $found{+PREFIX} // '');
    $line = "packet $why $line";
    return if $said{$line} || keys %said >= SAID_MAX;
    $said{$line} = 1;
    print "$line\n";
}

# Protocol, address and port of an IP packet; extension headers of IPv6 are not looked behind.
sub destination {
    my ($packet) = @_;
    my $version = length $packet ? ord($packet) >> 4 : 0;
    my ($family, $at, $protocol, $size) =
        $version == 4 && length $packet >= 20 ? (AF_INET, 16, ord substr($packet, 9, 1), (ord($packet) & 15) * 4)
      : $version == 6 && length $packet >= 40 ? (AF_INET6, 24, ord substr($packet, 6, 1), 40)
      :                                         return;
    my $address = inet_ntop($family, substr $packet, $at, $version == 4 ? 4 : 16);
    my $has_port = ($protocol == 6 || $protocol == 17) && length $packet >= $size + 4;
    my $port = $has_port ? unpack('n', substr $packet, $size + 2, 2) : '-';
    return join ' ', $protocols{$protocol} // "protocol-$protocol", $address, $port;
}

sub min { return $_[0] < $_[1] ? $_[0] : $_[1] }
