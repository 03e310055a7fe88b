"Tests ask nothing of the network: a name that is no folder is looked for among cached models."

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any library reads it
