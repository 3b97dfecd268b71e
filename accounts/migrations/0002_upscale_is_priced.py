"""The prices of upscaling: usage says what a render was enlarged to."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_version_0_2"),
    ]

    operations = [
        migrations.AddField(
            model_name="usageentry",
            name="upscale",
            field=models.CharField(
                db_default="none",
                default="none",
                help_text="`parameters.upscale` of the render; `none`: not enlarged.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="usageentry",
            name="upscale_micros",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="The part of the price that is for the upscaling."
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="prices",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text='Price of one second of video, in millionths of the currency, by engine and size: {"infinitetalk": {"480p": 15000}}. The prices of upscaling are optional and are added to it: {"upscale": {"720p": 1000, "1080p": 2000}}. An upscaling without a price is not sold on a plan with prices.',
            ),
        ),
        migrations.AlterField(
            model_name="usageentry",
            name="price_micros",
            field=models.BigIntegerField(
                default=0,
                help_text="Price of one second, upscaling included, at the time when the render was requested.",
            ),
        ),
    ]
