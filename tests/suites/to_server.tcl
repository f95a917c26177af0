# Appended to the client library of Redis's suite, in its unpacked copy.
#
# DEBUG and INFO prepare and observe a server. Through the proxy, INFO is about the proxy and DEBUG is
# refused, so they go to the server of the pool directly, at SERVER_PORT. A client that reads its replies
# later sends them to the proxy as usual.
if {[info exists ::env(SERVER_PORT)]} {
    set ::redis::server {}

    proc ::redis::ask_server {id fd words} {
        if {$::redis::deferred($id) || !$::redis::blocking($id)} {
            ::redis::send_words $fd $words
            return
        }
        if {$::redis::server eq {}} {
            set ::redis::server [redis 127.0.0.1 $::env(SERVER_PORT)]
        }
        ::redis::send_words [$::redis::server channel] $words
        $::redis::server read
    }

    proc ::redis::send_words {fd words} {
        puts -nonewline $fd "*[llength $words]\r\n"
        foreach word $words {
            puts -nonewline $fd "\$[string length $word]\r\n$word\r\n"
        }
        flush $fd
    }

    foreach name {debug DEBUG info INFO} {
        proc ::redis::__method__$name {id fd args} "::redis::ask_server \$id \$fd \[linsert \$args 0 $name\]"
    }
}
