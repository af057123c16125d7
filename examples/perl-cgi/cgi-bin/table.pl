#!/usr/bin/perl
# What the server tells a CGI program, as a table.
use strict;
use warnings;

print "Content-Type: text/plain\r\n\r\n";
printf "%-16s %s\n", $_, $ENV{$_} // '' for qw(REQUEST_METHOD SCRIPT_NAME QUERY_STRING);
