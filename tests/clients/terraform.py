"""Terraform's aws provider against an Aerie: all resources made, planned again without a difference, changed, imported and
destroyed. Its state is compared with what boto3 sees.

The provider must lie in a folder, as `terraform init -plugin-dir` wants it: AERIE_TERRAFORM_PLUGINS names it, else the
usual places are looked at. A run takes two minutes, one of which the provider waits for a lifecycle to settle.
"""

import json
import os
import pathlib
import shutil

from world import ACCESS, SECRET, Left, boto, equal, test

CONFIGURATION = pathlib.Path(__file__).parent / "terraform"
HOOK = pathlib.Path(__file__).parents[2] / "wasm-hooks/built/digest.wasm"


def plugins():
    """A folder that holds the provider."""
    home = pathlib.Path.home()
    named = [os.environ.get("AERIE_TERRAFORM_PLUGINS"), os.environ.get("TF_PLUGIN_CACHE_DIR")]
    usual = [home / ".terraform.d/plugins", home / ".terraform.d/plugin-cache", "/usr/local/share/terraform/plugins",
             "/usr/share/terraform/plugins", "/opt/terraform/plugins", "/opt/tf-plugins"]
    for folder in [pathlib.Path(folder) for folder in [*named, *usual] if folder]:
        if next(folder.glob("*/hashicorp/aws/*"), None):
            return folder
    raise Left("terraform's aws provider is in no folder; AERIE_TERRAFORM_PLUGINS names one")


class Terraform:
    def __init__(self, w):
        self.w, self.folder = w, w.folder / "terraform"
        shutil.copytree(CONFIGURATION, self.folder)
        self.env = {"TF_VAR_endpoint": w.endpoint, "TF_VAR_kms_key": "terraform", "TF_CLI_CONFIG_FILE": os.devnull,
                    "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "AWS_ENDPOINT_URL": ""}
        self.env |= {f"TF_CLI_ARGS_{action}": "-no-color" for action in ["init", "apply", "plan", "import", "destroy"]}

    def run(self, action, *arguments, step="one"):
        env = self.env | {"TF_VAR_step": step}
        return self.w.run("terraform", f"-chdir={self.folder}", action, *arguments, env=env, timeout=400)

    def apply(self, step):
        self.run("apply", "-auto-approve", step=step)
        # Ends with 2, and so fails, where a difference is left.
        self.run("plan", "-detailed-exitcode", step=step)

    def outputs(self):
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}


@test
def terraform_aws_provider(w):
    w.need("terraform")
    folder = plugins()
    w.aerie("key", "create", "terraform")
    w.aerie("hook", "add", "look", str(HOOK))
    terraform, s3 = Terraform(w), boto(w)
    terraform.run("init", f"-plugin-dir={folder}")
    terraform.apply("one")
    made = terraform.outputs()
    equal(made["keys"], ["dir/one", "dir/two"])
    equal(s3.get_object(Bucket="tf-main", Key="dir/one")["Body"].read(), b"content one")
    equal(s3.head_object(Bucket="tf-kms", Key="sealed")["ServerSideEncryption"], "aws:kms")
    equal(s3.get_bucket_lifecycle_configuration(Bucket="tf-main")["Rules"][0]["Expiration"], {"Days": 30})
    terraform.apply("two")
    equal(s3.get_object(Bucket="tf-main", Key="dir/one")["Body"].read(), b"content two")
    equal(s3.get_public_access_block(Bucket="tf-main")["PublicAccessBlockConfiguration"]["IgnorePublicAcls"], False)
    for address, name in [("aws_s3_bucket.main", "tf-main"), ("aws_iam_role.reader", "tf-reader"),
                          ("aws_s3_bucket_policy.main", "tf-main"), ("aws_iam_user.ann", "tf-ann")]:
        terraform.run("state", "rm", address)
        terraform.run("import", address, name, step="two")
    # An import does not know what only the configuration says: force_destroy.
    terraform.apply("two")
    terraform.run("destroy", "-auto-approve", step="two")
    equal([bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"].startswith("tf-")], [])
