"""swift_server.py CONFDIR SERVER - one of Swift's servers with a configuration of its own.

Swift reads its hash suffix and its storage policies from a fixed path below /etc;
`set_swift_dir` points it elsewhere, so that several run side by side and /etc stays as it is.
SERVER is proxy-server, account-server, container-server or object-server; `rings PORT` instead
of it writes the three rings: 16 partitions, one replica, one device, ports PORT+1 to PORT+3.
"""
import os
import sys

confdir, server = sys.argv[1:3]

from swift.common import utils  # noqa: E402

utils.set_swift_dir(confdir)

if server == 'rings':
    from swift.common.ring.builder import RingBuilder
    address, port = sys.argv[3], int(sys.argv[4])
    for name, number in (('object', 1), ('container', 2), ('account', 3)):
        builder = RingBuilder(4, 1, 0)
        builder.add_dev(dict(id=0, region=1, zone=1, ip=address, port=port + number,
                             replication_ip=address, replication_port=port + number,
                             device='d1', weight=1.0, meta=''))
        builder.rebalance()
        builder.get_ring().save('%s/%s.ring.gz' % (confdir, name))
    sys.exit(0)

from swift.common.wsgi import run_wsgi  # noqa: E402

sys.exit(run_wsgi(os.path.join(confdir, server + '.conf'), server, daemonize=False))
