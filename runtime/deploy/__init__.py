"""`berth deploy`: from a SAM or CloudFormation template to functions of a running Berth.

A pure core reads the template (`documents`, `template`), works out its intrinsic functions (`intrinsics`), its order
(`order`) and what each resource is to be (`globals`, `wanted`, `placeholders`), and compares that with what the API
tells (`differences`). A thin shell makes the packages (`archives`) and speaks Lambda's REST API (`service`,
`functions`, `layers`, `deployer`). No state is kept anywhere but in what the API shows.
"""
