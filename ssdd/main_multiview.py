"""The documented launcher: accelerate launch ssdd/main_multiview.py -cn=SpiderEye key=value …"""

import sys

from spidereye.cli import launch

if __name__ == "__main__":
    launch(sys.argv[1:])
